"""Label losses and where they coincide."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.supervision.label_loss import (
    BootSoft,
    ConfidencePenalty,
    CrossEntropy,
    JointSoft,
    LabelLoss,
    LabelSmoothing,
    ProSelfLC,
    cross_entropy,
)
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import entropy


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 6, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(0, 6, (16,), generator=generator)


@given(st.integers(0, 1000))
def test_epsilon_zero_is_cross_entropy(seed: int) -> None:
    logits, labels = batch(seed)
    expected = cross_entropy(logits, labels)
    losses: list[LabelLoss] = [CrossEntropy(), LabelSmoothing(0.0), ConfidencePenalty(0.0), BootSoft(0.0)]
    for loss in losses:
        torch.testing.assert_close(loss(logits, labels, Progress.at(0, 1)), expected)


def test_label_smoothing_agrees_with_torch() -> None:
    logits, labels = batch(0)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3, reduction="none")
    torch.testing.assert_close(LabelSmoothing(0.3)(logits, labels, Progress.at(0, 1)), expected)


def test_proselflc_trusts_the_prediction_late_and_where_confident() -> None:
    logits, labels = batch(1)
    early, late = (ProSelfLC(16.0)(logits, labels, Progress.at(0, 1, t)) for t in (0.0, 1.0))
    torch.testing.assert_close(early, cross_entropy(logits, labels), rtol=1e-2, atol=1e-2)
    surprised = cross_entropy(logits, labels) > entropy(logits)  # the label contradicts the prediction
    assert surprised.any() and (late < cross_entropy(logits, labels))[surprised].all()
    flat = torch.zeros(2, 6, dtype=torch.float64)  # no confidence, no trust
    torch.testing.assert_close(
        ProSelfLC(10.0)(flat, labels[:2], Progress.at(0, 1, 1.0)), cross_entropy(flat, labels[:2])
    )


def test_proselflc_trust_has_no_gradient() -> None:
    logits, labels = batch(2)
    logits.requires_grad_()
    ProSelfLC(10.0)(logits, labels, Progress.at(0, 1, 0.75)).sum().backward()
    assert logits.grad is not None
    got = logits.grad.clone()
    # the same gradient with the trust as a constant
    p = torch.softmax(logits.detach(), 1)
    trust = torch.sigmoid(torch.tensor(2.5, dtype=torch.float64)) * (
        1 + (p * p.log()).sum(1) / torch.log(torch.tensor(6.0))
    )
    again = logits.detach().clone().requires_grad_()
    log_p = torch.log_softmax(again, 1)
    loss = (1 - trust) * cross_entropy(again, labels) + trust * -(log_p.exp() * log_p).sum(1)
    loss.sum().backward()
    torch.testing.assert_close(got, again.grad)


def test_trusts_without_time_or_with_all_of_it() -> None:
    logits, _ = batch(3)
    for trust in ("global", "entropy", "maxp"):
        early, late = (
            ProSelfLC(1000.0, trust, transit).epsilon(logits, Progress.at(0, 1, 0.5, like=logits)) for transit in (1, 0)
        )
        p = torch.softmax(logits, 1)
        full = {"global": torch.ones(16).double(), "entropy": 1 - entropy(logits) / math.log(6), "maxp": p.amax(1)}
        assert early.max() < 1e-9
        torch.testing.assert_close(late, full[trust])


def test_a_fixed_trust_in_the_sharpened_prediction() -> None:
    logits, labels = batch(4)
    target = 0.5 * torch.nn.functional.one_hot(labels, 6) + 0.5 * torch.softmax(logits / 0.5, 1)
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(JointSoft(0.5, 0.5)(logits, labels, Progress.at(0, 1)), expected)
    logits.requires_grad_()
    JointSoft(1.0, 0.5)(logits, labels, Progress.at(0, 1)).sum().backward()
    p, sharp = torch.softmax(logits, 1), torch.softmax(logits / 0.5, 1)
    torch.testing.assert_close(logits.grad, (p - sharp).detach())

"""Influence scores against explicit gradients and Hessians of the last layer."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian

from kd_experiments.supervision.influence import (
    SplitOutputs,
    influence,
    kfac_factors,
    mean_gradient,
    residuals,
    with_bias,
)


def evidence(seed: int, n: int = 12, d: int = 3, c: int = 4) -> tuple[SplitOutputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(c, d + 1, generator=generator, dtype=torch.float64)
    h = torch.randn(n, d, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, c, (n,), generator=generator)
    return SplitOutputs(with_bias(h) @ weight.T, h, labels), weight


def loss(weight: torch.Tensor, part: SplitOutputs) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(with_bias(part.embedding) @ weight.T, part.labels)


def test_factorised_gradient_is_the_gradient() -> None:
    part, weight = evidence(0)
    weight.requires_grad_()
    (expected,) = torch.autograd.grad(loss(weight, part), weight)
    torch.testing.assert_close(mean_gradient(part), expected)


@pytest.mark.parametrize("damping", [1e-2, 0.3])
def test_identity_hessian(damping: float) -> None:
    train, _ = evidence(1)
    val, _ = evidence(2)
    per_sample = residuals(train)[:, :, None] * with_bias(train.embedding)[:, None]
    expected = -(per_sample * mean_gradient(val)).sum((1, 2)) / (1 + damping)
    torch.testing.assert_close(influence(train, val, "identity", damping), expected)


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_kfac_solves_with_the_explicit_kronecker_product(damping: float) -> None:
    train, _ = evidence(3)
    val, _ = evidence(4)
    s, a = kfac_factors(train)
    product = torch.kron(s, a)
    delta = damping * torch.linalg.eigvalsh(product).clamp_min(0).mean()
    solved = torch.linalg.solve(product + delta * torch.eye(len(product), dtype=s.dtype), mean_gradient(val).flatten())
    per_sample = residuals(train)[:, :, None] * with_bias(train.embedding)[:, None]
    torch.testing.assert_close(influence(train, val, "kfac", damping), -per_sample.flatten(1) @ solved)


def test_kfac_of_one_sample_is_the_exact_hessian() -> None:
    part, weight = evidence(5, n=1)
    s, a = kfac_factors(part)
    exact = hessian(lambda w: loss(w, part), weight)
    torch.testing.assert_close(torch.kron(s, a).reshape(exact.shape), exact)


def test_a_helpful_sample_lowers_the_validation_loss() -> None:
    """Nudging the weights along one sample's gradient lowers the validation loss most for the most negative score."""
    train, weight = evidence(6, n=20)
    val, _ = evidence(7)
    val = SplitOutputs(with_bias(val.embedding) @ weight.T, val.embedding, val.labels)
    scores = influence(train, val, "identity", 1e-6)
    changes = []
    for i in range(len(scores)):
        gradient = residuals(train)[i, :, None] * with_bias(train.embedding)[i]
        changes.append(loss(weight - 1e-6 * gradient, val) - loss(weight, val))
    torch.testing.assert_close(torch.stack(changes) / 1e-6, scores, rtol=1e-3, atol=1e-4)

"""Feature distillers against hand computations and limits: a student that says the same has nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.ab import AB, ab, boundary
from kd_experiments.distillers.at import at
from kd_experiments.distillers.cc import CC, cc
from kd_experiments.distillers.crd import CRD, contrast
from kd_experiments.distillers.features import Regressor, deepest, same_size
from kd_experiments.distillers.fitnet import FitNet, hint
from kd_experiments.distillers.fsp import FSP, flow, fsp
from kd_experiments.distillers.ft import FT, ft
from kd_experiments.distillers.kdsvd import Eigenvectors, aligned, kdsvd, right_singular
from kd_experiments.distillers.nst import nst
from kd_experiments.distillers.ofd import OFD, margin, ofd
from kd_experiments.distillers.pkt import pkt
from kd_experiments.distillers.reviewkd import ReviewKD, hcl
from kd_experiments.distillers.rkd import angle_loss, distance_loss
from kd_experiments.distillers.sp import sp
from kd_experiments.distillers.vid import VID, Guess, gaussian_nll
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output, build
from tests.golden_distillers import batch

ALL = torch.ones(5, dtype=torch.bool)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output(seed: int, channels: tuple[int, ...] = (3, 4, 6, 8), sizes: tuple[int, ...] = (8, 8, 4, 2)) -> Output:
    before = tuple(maps(seed + i, 5, c, s, s) for i, (c, s) in enumerate(zip(channels, sizes, strict=True)))
    features = tuple(F.relu(stage) for stage in before)
    return Output(maps(seed + 9, 5, 4), features, before, features[-1].mean((2, 3)))


def network(name: str) -> Network:
    torch.manual_seed(0)
    return build(name, classes=4, channels=1, size=16)


LABELS = torch.tensor([0, 3, 1, 2, 2])
A = maps(0, 5, 6, 4, 4)
E = maps(2, 5, 7)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: at(x, x, 2.0),
        lambda x: nst(x, x),
        lambda x: hint(x, x),
        lambda x: ft(x, x, 2.0, 1.0),
        lambda x: hcl(x, x),
        lambda x: fsp([x, x, x], [x, x, x]),
        lambda x: kdsvd([x, x.flip(2), x + 1], [x, x.flip(2), x + 1], 1),
        lambda x: sp(x, x, ALL),
        lambda x: ofd(x.relu(), x.relu(), -torch.ones(6)),
        lambda x: distance_loss(x.flatten(1), x.flatten(1), ALL),
        lambda x: angle_loss(x.flatten(1), x.flatten(1), ALL),
        lambda x: pkt(x.flatten(1), x.flatten(1), ALL, 1e-7),
        lambda x: cc(x.flatten(1), x.flatten(1), ALL),
    ],
)
def test_the_same_maps_cost_nothing(loss: Callable[[Tensor], Tensor]) -> None:
    assert loss(A).abs().max() < 1e-12


def test_distances_and_angles_ignore_scale_and_rotation() -> None:
    turned = 3 * E @ torch.linalg.qr(maps(3, 7, 7))[0] + 1
    assert distance_loss(turned, E, ALL) < 1e-12
    assert angle_loss(turned, E, ALL) < 1e-12
    assert distance_loss(E.square(), E, ALL) > 1e-4


def test_a_single_taught_sample_has_no_relations() -> None:
    alone = torch.tensor([False, True, False, False, False])
    student = maps(4, 5, 7).requires_grad_()
    for loss in (sp, distance_loss, angle_loss, cc):
        value = loss(student, E, alone)
        value.backward(retain_graph=True)
        assert value.abs() < 1e-12
    assert student.grad is not None and student.grad.isfinite().all()


def test_attention_ignores_channels_and_scale() -> None:
    wide = torch.cat([A, A, A], 1)
    assert at(5 * wide, A, 2.0).max() < 1e-12
    assert at(F.interpolate(A, scale_factor=2), A, 2.0).max() < 1e-12


def test_nst_by_hand() -> None:
    """Unit vectors over places: k(a, b) = (a . b)^2."""
    student = torch.tensor([[[[1.0, 0.0]]]])
    teacher = torch.tensor([[[[3.0, 4.0]], [[0.0, 2.0]]]])
    expected = 1 + (1 + 1 + 2 * 0.8**2) / 4 - 2 * (0.6**2 + 0) / 2
    assert nst(student, teacher).item() == pytest.approx(expected)


def test_hcl_of_a_constant_difference() -> None:
    assert hcl(A + 3, A).tolist() == pytest.approx([9.0] * 5)
    zero_mean = torch.tensor([1.0, -1.0]).repeat(8).reshape(1, 1, 4, 4)
    assert hcl(zero_mean, torch.zeros(1, 1, 4, 4)).item() == pytest.approx(1 / 1.75)  # only the unpooled term is left


def test_flow_is_a_mean_over_places() -> None:
    bottom, top = maps(0, 2, 3, 4, 4), maps(1, 2, 5, 2, 2)
    expected = torch.einsum("bchw,bdhw->bcd", F.avg_pool2d(bottom, 2), top) / 4
    torch.testing.assert_close(flow(bottom, top), expected)


def test_a_neuron_on_the_margin_s_right_side_costs_nothing() -> None:
    teacher = torch.tensor([2.0, -1.0, 0.5, -3.0]).reshape(1, 4, 1, 1)
    right = torch.tensor([1.0, -1.5, 2.0, -1.0]).reshape(1, 4, 1, 1)
    assert boundary(right, teacher, 1.0) == 0
    assert boundary(-right, teacher, 1.0).item() == pytest.approx(4 + 6.25 + 9 + 4)
    assert ab([-right, -right], [teacher, teacher], 1.0).item() == pytest.approx(3 / 1000 * 1.5 * 23.25)


# OFD


def test_margins_are_the_mean_of_what_is_negative() -> None:
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.7, 5.0, -1.0]))
    margins = margin(norm)
    sample = 0.7 + 2 * torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    assert margins[0].item() == pytest.approx(-math.sqrt(2 / math.pi), rel=1e-5)
    assert margins[1].item() == pytest.approx(sample[sample < 0].mean().item(), rel=5e-3)
    assert margins[2].item() == pytest.approx(-1.5)  # practically never negative: -3 sigma
    assert margins[3].item() == pytest.approx(-1.0)  # always -1


def test_partial_distance_by_hand() -> None:
    teacher = torch.tensor([2.0, -0.5, -3.0, -3.0, -0.5]).reshape(1, 5, 1, 1)
    student = torch.tensor([1.0, 0.5, -2.0, 1.0, -0.7]).reshape(1, 5, 1, 1)
    # fires: (1-2)^2; above a mild silence: 1; below the margin: 0; above the margin: (1+1)^2; below a mild silence: 0
    assert ofd(student, teacher, -torch.ones(5)).item() == pytest.approx(1 + 1 + 0 + 4 + 0)


def test_ofd_reads_the_teacher_s_norms_and_keeps_them_out_of_training() -> None:
    student, source = network("resnet8"), network("resnet20")
    images = torch.randn(2, 1, 16, 16)
    distiller = OFD()
    distiller.inspect_networks(student, source)
    distiller.build_modules(student(images), source(images))
    last = source.preactivation_norms()[-1]
    assert last is not None
    torch.testing.assert_close(dict(distiller.named_buffers())["margin2"], margin(last))
    assert {key.split(".")[0] for key, _ in distiller.named_parameters()} == {"connectors"}


def test_ofd_needs_a_batch_norm_at_the_end_of_a_stage() -> None:
    student, source = network("resnet8"), network("ShuffleV2")
    distiller = OFD()
    distiller.inspect_networks(student, source)
    with pytest.raises(UserError, match="stage 1 of the teacher"):
        distiller.build_modules(student.eval()(torch.randn(2, 1, 16, 16)), source.eval()(torch.randn(2, 1, 16, 16)))


# VID


def test_vid_likelihood_by_hand() -> None:
    mean, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)
    loss = gaussian_nll(mean, torch.tensor([1.0, 4.0]), teacher)
    assert loss.item() == pytest.approx(((1 + 0) + (1 + math.log(4))) / 4)


def test_vid_learns_its_variances() -> None:
    """The best variance of a channel is the squared error that is left: here, of a teacher that cannot be guessed."""
    torch.manual_seed(0)
    distiller = VID(5.0)
    student, source = (Output(*(_float(part) for part in output(seed))) for seed in (0, 50))
    distiller.build_modules(student, source)
    guess = distiller.guesses[0]
    assert isinstance(guess, Guess)
    torch.testing.assert_close(guess.variance, torch.full((4,), 5.0))
    for weights in guess.mean.parameters():
        weights.requires_grad_(False)
    optimizer = torch.optim.Adam([guess.raw_variance], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        guess(student.features[1], source.features[1]).mean().backward()
        optimizer.step()
    error = (guess.mean(student.features[1]) - source.features[1]).square().mean((0, 2, 3))
    torch.testing.assert_close(guess.variance, error, rtol=1e-2, atol=1e-3)
    assert guess.variance.max() < 5


def _float(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(maps.float() for maps in part)
    return None if part is None else part.float()


# CRD


def two_samples(momentum: float = 0.5) -> tuple[CRD, Output, Output]:
    """Two samples of two classes: the only negative of each is the other."""
    torch.manual_seed(0)
    distiller = CRD(3, 1, 0.5, momentum)
    distiller.inspect_labels(torch.tensor([1, 0]), 2)
    student, source = (Output(maps(s, 2, 2), (), (), maps(s + 1, 2, d)) for s, d in ((0, 4), (2, 6)))
    distiller.build_modules(student, source)
    return distiller.double(), student, source


def test_crd_with_one_negative_by_hand() -> None:
    distiller, student, source = two_samples()
    v_s = F.normalize(distiller.student_embedding(student.embedding))
    v_t = F.normalize(distiller.source_embedding(source.embedding))
    expected = torch.zeros((), dtype=torch.float64)
    for v, memory in ((v_s, distiller.source_memory), (v_t, distiller.student_memory)):
        scores = torch.exp(v @ memory.embeddings.T / 0.5)
        scores = scores / (scores.mean() * 2)
        for i in range(2):
            true, other = scores[i, i], scores[i, 1 - i]
            expected -= ((true / (true + 0.5)).log() + (0.5 / (other + 0.5)).log()) / 2

    loss = distiller(batch(student, source, torch.tensor([1, 0])))["crd"]

    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_crd_is_least_where_the_true_pair_stands_out() -> None:
    """At the optimum s_0 -> infinity and s_k -> 0 every logarithm vanishes."""
    assert contrast(torch.tensor([[1e9, 0.0, 0.0]]), 100).item() == pytest.approx(0, abs=1e-4)
    assert contrast(torch.tensor([[0.02, 0.02, 0.02]]), 100).item() == pytest.approx(3 * math.log(2), rel=1e-4)


def test_crd_remembers_and_keeps_its_scale() -> None:
    distiller, student, source = two_samples(momentum=0.25)
    before = distiller.student_memory.embeddings.clone()
    given = batch(student, source, torch.tensor([1, 0]))
    distiller(given)
    new = F.normalize(distiller.student_embedding(student.embedding)).detach()
    torch.testing.assert_close(distiller.student_memory.embeddings, F.normalize(0.25 * before + 0.75 * new))
    scale = distiller.student_memory.scale.clone()
    assert scale > 0
    distiller(given)
    assert distiller.student_memory.scale == scale, "set by the first batch, once"
    assert {"student_memory.embeddings", "source_memory.embeddings", "student_memory.scale"} <= set(
        distiller.state_dict()
    )
    assert not distiller.student_memory.embeddings.requires_grad


def test_crd_draws_every_sample_of_another_class_alike() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1])
    distiller = CRD(3, 8, 0.07, 0.5)
    distiller.inspect_labels(labels, 3)
    asked = torch.tensor([0, 1, 2]).repeat(2000)
    drawn = distiller.draw(asked)
    for label in range(3):
        seen = drawn[asked == label].flatten().bincount(minlength=8) / (2000 * 8)
        others = (labels != label).float()
        torch.testing.assert_close(seen, others / others.sum(), atol=0.01, rtol=0)


def test_crd_wants_enough_samples() -> None:
    with pytest.raises(UserError, match=r"method.negatives=16384: the training set has 1200 samples only"):
        CRD(128, 16384, 0.07, 0.5).inspect_labels(torch.arange(1200) % 10, 10)
    with pytest.raises(UserError, match="same label"):
        CRD(128, 10, 0.07, 0.5).inspect_labels(torch.zeros(20, dtype=torch.int64), 10)


# KDSVD


def test_singular_vectors_are_torch_s_and_so_is_their_gradient() -> None:
    x = maps(0, 2, 3, 4, 5).requires_grad_()
    values, vectors = right_singular(x, 2)
    _, s, v = torch.linalg.svd(x.flatten(1, 2), full_matrices=False)
    torch.testing.assert_close(values, F.normalize(s[:, :2]))
    torch.testing.assert_close(vectors.abs(), v.mT[:, :, :2].abs())
    # signs are arbitrary, so a function of v v^T
    ours, theirs = ((w @ w.mT * maps(1, 5, 5)).sum() for w in (vectors[:, :, :1], v.mT[:, :, :1]))
    torch.testing.assert_close(*(torch.autograd.grad(value, x, retain_graph=True)[0] for value in (ours, theirs)))


def test_equal_singular_values_give_a_finite_gradient() -> None:
    for matrix in (torch.zeros(1, 3, 3), torch.eye(3)[None]):
        matrix = matrix.clone().requires_grad_()
        _, vectors = Eigenvectors.apply(matrix)
        (vectors * maps(0, 3, 3).float()).sum().backward()
        assert matrix.grad is not None and matrix.grad.isfinite().all()


def test_alignment_undoes_order_and_sign() -> None:
    _, v = right_singular(maps(0, 2, 3, 4, 5), 3)
    shuffled = torch.stack([-v[..., 2], v[..., 0], -v[..., 1]], -1)
    torch.testing.assert_close(aligned(shuffled, v), v)


# Stages, shapes and what is refused


@pytest.mark.parametrize(("ours", "theirs"), [(4, 4), (8, 4), (4, 8), (7, 5), (2, 7), (16, 4), (3, 12)])
def test_a_regressor_meets_any_shape(ours: int, theirs: int) -> None:
    student, source = torch.randn(2, 3, ours, ours), torch.randn(2, 5, theirs, theirs)
    assert Regressor(student, source, relu=True)(student).shape == source.shape


def test_stages_are_matched_from_the_deepest() -> None:
    student, source = output(0), output(20, (2, 3, 4, 5, 6), (8, 8, 4, 2, 1))
    pairs = deepest(student.features, source.features)
    assert [(s.shape[1], t.shape[1]) for s, t in pairs] == [(4, 4), (6, 5), (8, 6)]
    assert len(deepest(student.features, source.features, stem=True)) == 4
    small, smaller = same_size(torch.zeros(1, 2, 8, 4), torch.zeros(1, 3, 4, 8))
    assert small.shape[2:] == smaller.shape[2:] == (4, 4)


def test_a_missing_stage_is_named() -> None:
    with pytest.raises(UserError, match=r"method.stage=4: the student of method=fitnet has the stages 0 to 3 only"):
        FitNet(4).build_modules(output(0), output(0))
    with pytest.raises(UserError, match=r"method.stage=-5"):
        FT(-5, 0.5, 2.0, 1.0, 30).build_modules(output(0), output(0))


def test_fsp_wants_equal_widths() -> None:
    FSP(30, False).build_modules(output(0), output(1))
    with pytest.raises(UserError, match=r"\[3, 4, 6, 8\] channels and the teacher's \[3, 4, 6, 9\]"):
        FSP(30, False).build_modules(output(0), output(1, (3, 4, 6, 9)))


def test_the_paraphraser_learns_first_and_is_fixed_afterwards() -> None:
    distiller = FT(-1, 0.5, 2.0, 1.0, 30)
    student, source = output(0), output(1)
    distiller.build_modules(student, source)
    distiller.double()
    given = batch(student, source, LABELS)
    distiller(given)["ft"].backward()
    assert all(p.grad is None for part in (distiller.paraphraser, distiller.decoder) for p in part.parameters())
    assert all(p.grad is not None for p in distiller.translator.parameters())
    distiller.zero_grad()
    distiller.initialise(given)["reconstruction"].backward()
    assert all(p.grad is not None for part in (distiller.paraphraser, distiller.decoder) for p in part.parameters())
    assert all(p.grad is None for p in distiller.translator.parameters())


def test_ab_connects_only_what_differs() -> None:
    distiller = AB(1.0, 30, False)
    distiller.build_modules(output(0), output(1, (3, 4, 6, 9)))
    assert [type(connector) for connector in distiller.connectors] == [nn.Identity, nn.Identity, Regressor]


def test_reviewkd_reviews_every_stage_and_the_embedding() -> None:
    distiller = ReviewKD(512)
    student, source = output(0), output(1, (3, 5, 7, 9))
    distiller.build_modules(student, source)
    assert len(distiller.fusions) == 4
    assert [fusion.attention is None for fusion in distiller.fusions] == [False, False, False, True]


def test_cc_projects_both_embeddings() -> None:
    distiller = CC(128)
    distiller.build_modules(output(0), output(1, (3, 4, 6, 9)))
    assert distiller.student_projection.weight.shape == (128, 8)
    assert distiller.source_projection.weight.shape == (128, 9)

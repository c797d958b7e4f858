"""Constant and per-sample temperatures."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.distillers.kd import kd
from kd_experiments.supervision.temperature import (
    CWSM,
    FLSW,
    ConstantTemperature,
    DynamicTemperature,
    LargestLogit,
    LogitDeviation,
    Temperatures,
    dynamic_temperature,
)

seeds = st.integers(0, 10_000)


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 32, 10, generator=generator, dtype=torch.float64) * 3)  # type: ignore[return-value]


@given(seeds, st.floats(1, 20), st.floats(0, 80))
def test_unclamped_mean_is_tau0(seed: int, tau0: float, beta: float) -> None:
    student, teacher = pair(seed)
    parts: list[DynamicTemperature] = [FLSW(tau0, beta, 1.0), CWSM(tau0, beta)]
    for part in parts:
        tau = dynamic_temperature(part.weights(student, teacher), tau0, beta)
        torch.testing.assert_close(tau.mean(), torch.tensor(tau0, dtype=torch.float64))


@given(seeds)
def test_temperatures_are_clamped_at_one_and_have_no_gradient(seed: int) -> None:
    student, teacher = pair(seed)
    student.requires_grad_()
    tau = FLSW(10.0, 400.0, 1.0)(student, teacher)
    assert tau.min() == 1.0 and not tau.requires_grad


def test_harder_samples_get_sharper_targets() -> None:
    teacher = torch.eye(4, dtype=torch.float64) * 5
    student = teacher.clone()
    student[0] = teacher[1]  # disagrees on the first
    tau = FLSW(10.0, 4.0, 1.0)(student, teacher)
    assert tau[0] < tau[1:].min()
    unsure = torch.eye(4, dtype=torch.float64) * 5
    unsure[0] = 0
    tau = CWSM(10.0, 1.0)(unsure, teacher)
    assert tau[0] < tau[1:].min()


@given(seeds, st.floats(1, 20))
def test_equal_temperatures_are_a_constant_one(seed: int, t: float) -> None:
    student, teacher = pair(seed)
    per_sample = torch.full((32,), t, dtype=torch.float64)
    torch.testing.assert_close(
        kd(student, teacher, per_sample), kd(student, teacher, ConstantTemperature(t)(student, teacher))
    )


def test_float32_agrees_with_float64() -> None:
    student, teacher = pair(1)
    part = FLSW(10.0, 40.0, 1.0)
    torch.testing.assert_close(
        part(student.float(), teacher.float()), part(student, teacher).float(), rtol=1e-4, atol=1e-4
    )


def test_the_clamp_is_an_option() -> None:
    student, teacher = pair(0)
    for part in (FLSW(10.0, 400.0, 1.0, None), CWSM(10.0, 400.0, None)):
        assert part(student, teacher).min() < 0 < part(student, teacher).max()


def test_largest_logits_share_twice_the_temperature_and_have_a_floor() -> None:
    student, teacher = pair(1)
    t = LargestLogit(4.0, 0.01, False)(student, teacher)
    torch.testing.assert_close(torch.as_tensor(t.teacher) + t.student, torch.full((32,), 8.0, dtype=torch.float64))
    below = LargestLogit(4.0, 0.01, False)(-student.abs() - 1, -teacher.abs() - 1)
    assert (torch.as_tensor(below.teacher) == 4).all(), "both at the floor"
    centred, shifted = (LargestLogit(4.0, 0.01, True)(student, teacher + constant) for constant in (0, 50))
    torch.testing.assert_close(centred.teacher, shifted.teacher)


def test_deviations_have_a_floor_and_a_gradient_there() -> None:
    student = torch.zeros(2, 5, requires_grad=True)
    t = LogitDeviation(2.0)(student, student.detach())
    torch.as_tensor(t.student).sum().backward()
    assert (torch.as_tensor(t.teacher) > 0).all() and student.grad is not None and not student.grad.any()


def test_temperatures_times_and_repeated() -> None:
    t = Temperatures(torch.tensor([1.0, 2.0]), 3.0, torch.tensor([3.0, 6.0]))
    twice = t.times(2.0).repeated(2)
    assert torch.as_tensor(twice.teacher).tolist() == [2, 2, 4, 4] and twice.student == 6
    assert torch.as_tensor(twice.scale).tolist() == [12, 12, 24, 24]

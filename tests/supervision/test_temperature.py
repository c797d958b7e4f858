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

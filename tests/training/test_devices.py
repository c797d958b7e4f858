"""Devices: jobs of a sweep take turns on several GPUs."""

from __future__ import annotations

import pytest
import torch

from kd_experiments.training import devices


@pytest.mark.parametrize(
    ("count", "number", "expected"), [(1, 5, "cuda"), (2, 0, "cuda:0"), (2, 3, "cuda:1"), (4, 6, "cuda:2")]
)
@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_jobs_take_turns(wanted: str, count: int, number: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert devices.pick(wanted, number) == torch.device(expected)
    assert current == ([torch.device(expected)] if count > 1 else [])
    assert devices.pick("cpu", number) == torch.device("cpu")

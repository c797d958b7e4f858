"""Reference values, from tests/golden or from any folder in that format: `pytest tests/golden --golden DIR`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.golden_distillers  # noqa: F401  # makes the distillers' cases known
from tests.conftest import golden_folders
from tests.golden_losses import compute, is_known
from tests.golden_models import check_network


def loss_files(folder: Path) -> list[Path]:
    """losses.json, losses2.json, ...: cases, with their arrays in an .npz of the same name."""
    return sorted(folder.glob("losses*.json"))


def loss_cases(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [(file, case) for file in loss_files(folder) for case in json.loads(file.read_text())["cases"]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folders = golden_folders(metafunc.config)
    if "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", folders, ids=str)
    elif "case" in metafunc.fixturenames:
        cases = [pair for folder in folders for pair in loss_cases(folder) if is_known(pair[1])]
        metafunc.parametrize(("file", "case"), cases, ids=[case["id"] for _, case in cases])
    elif "network" in metafunc.fixturenames:
        entries = [
            (name, reference)
            for folder in folders
            if (folder / "models.json").exists()
            for name, reference in json.loads((folder / "models.json").read_text()).items()
        ]
        metafunc.parametrize(("network", "reference"), entries, ids=[name for name, _ in entries])


def test_folder_holds_reference_values(folder: Path) -> None:
    assert (folder / "models.json").exists() or loss_files(folder), f"{folder}: nothing to check"
    lonely = [file.name for file in loss_files(folder) if not file.with_suffix(".npz").exists()]
    assert not lonely, f"{folder}: no arrays beside {', '.join(lonely)}"


def test_every_case_of_the_folder_is_known(folder: Path) -> None:
    unknown = [f"{file.name}: {case['id']}" for file, case in loss_cases(folder) if not is_known(case)]
    assert not unknown, f"{folder}: cases that nothing here computes: {'; '.join(unknown)}"


def test_loss(file: Path, case: dict[str, Any]) -> None:
    arrays = dict(arrays_of(file.with_suffix(".npz")))
    assert arrays.keys() >= set(case["inputs"])
    if "gradient" in case:
        arrays[case["gradient_of"]] = arrays[case["gradient_of"]].clone().requires_grad_()
    answer = compute(case, arrays)
    value = answer.mean() if "per_sample" in case or (answer.ndim == 1 and not named(case["value"])) else answer
    assert value.dtype == torch.float64
    agree(value, arrays, case["value"])
    if "per_sample" in case and answer.ndim == 1:
        agree(answer, arrays, case["per_sample"])
    if "gradient" in case:
        agree(torch.autograd.grad(value, arrays[case["gradient_of"]])[0], arrays, case["gradient"])
    if "gradient_detached" in case:
        detached = {**case, "hyperparameters": case["hyperparameters"] | {"pseudo_teacher_detached": True}}
        value = compute(detached, arrays)
        agree(torch.autograd.grad(value, arrays[case["gradient_of"]])[0], arrays, case["gradient_detached"])


@cache
def arrays_of(file: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(file).items()}


def named(expected: float | str) -> bool:
    return isinstance(expected, str)


def agree(value: Tensor, arrays: dict[str, Tensor], expected: float | str) -> None:
    """With a number, or with the array of this name."""
    reference = (
        arrays[expected.removeprefix("array ")]
        if isinstance(expected, str)
        else torch.tensor(expected, dtype=torch.float64)
    )
    torch.testing.assert_close(value.detach(), reference, rtol=1e-9, atol=1e-12)


def test_network(network: str, reference: dict[str, Any]) -> None:
    check_network(network, reference)

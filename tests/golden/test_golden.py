"""Reference values, from tests/golden or from any folder in that format: `pytest tests/golden --golden DIR`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tests.golden_distillers  # noqa: F401  # makes the distillers' cases known
from tests.conftest import golden_folders
from tests.golden_losses import compute
from tests.golden_models import check_network


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folders = golden_folders(metafunc.config)
    if "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", folders, ids=str)
    elif "case" in metafunc.fixturenames:
        cases = [
            (folder, case)
            for folder in folders
            if (folder / "losses.json").exists()
            for case in json.loads((folder / "losses.json").read_text())["cases"]
        ]
        metafunc.parametrize(("case_folder", "case"), cases, ids=[case["id"] for _, case in cases])
    elif "network" in metafunc.fixturenames:
        entries = [
            (name, reference)
            for folder in folders
            if (folder / "models.json").exists()
            for name, reference in json.loads((folder / "models.json").read_text()).items()
        ]
        metafunc.parametrize(("network", "reference"), entries, ids=[name for name, _ in entries])


def test_folder_holds_reference_values(folder: Path) -> None:
    assert (folder / "models.json").exists() or (folder / "losses.json").exists(), f"{folder}: nothing to check"
    assert (folder / "losses.json").exists() == (folder / "losses.npz").exists(), f"{folder}: half a set of losses"


def test_loss(case_folder: Path, case: dict[str, Any]) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in np.load(case_folder / "losses.npz").items()}
    try:
        value = compute(case, arrays)
    except KeyError as unknown:
        raise AssertionError(f"{case['id']}: no such case is known") from unknown
    expected = case["value"]
    reference = (
        arrays[expected.removeprefix("array ")]
        if isinstance(expected, str)
        else torch.tensor(expected, dtype=torch.float64)
    )
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12)


def test_network(network: str, reference: dict[str, Any]) -> None:
    check_network(network, reference)

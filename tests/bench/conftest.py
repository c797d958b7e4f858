"""A small subject to measure; nothing here looks at how long anything takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.material import Material, Subject
from bench.measurement import Setting

PAIR = ("resnet8", "resnet8")


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="package")
def subject(folder: Path) -> Subject:
    return Material(folder, 100).subject(PAIR, torch.device("cpu"), "recipe.batch_size=32")


@pytest.fixture
def setting() -> Setting:
    return Setting(quick=True, device=torch.device("cpu"))

"""Options and fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        action="append",
        type=Path,
        default=None,
        metavar="DIR",
        help="a folder with losses.json + losses.npz, models.json, or both, to check instead of tests/golden",
    )


def golden_folders(config: pytest.Config) -> list[Path]:
    return config.getoption("--golden") or [GOLDEN]

"""Where the suite's own files are: in a checkout beside the package, in an installed wheel inside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def home() -> Path:
    """The folder that holds `conf/` and `sweeps/`."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "conf" / "config.yaml").exists() else PACKAGE


def published_numbers() -> Path:
    """The folder of CSV files with numbers from papers."""
    folder = PACKAGE.parent / "results" / "published"
    return folder if folder.exists() else PACKAGE / "published"


def config_folders() -> list[Path]:
    """Folders that hold config groups, those that win first; the last one is the suite's own."""
    return [home() / "conf"]

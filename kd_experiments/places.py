"""Where the suite's own files are: in a checkout beside the package, in an installed wheel inside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kd_experiments import own_code

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
    return [*own_code.folders("conf"), home() / "conf"]


def sweep_folders() -> list[Path]:
    """Folders that hold sweeps, the suite's own last."""
    return [*own_code.folders("sweeps"), home() / "sweeps"]


def files_of(group: str) -> dict[str, Path]:
    """The choices of a config group that are files, by name, sorted; of two of one name the user's."""
    found = {path.stem: path for folder in reversed(config_folders()) for path in (folder / group).glob("*.yaml")}
    return dict(sorted(found.items()))


def files_below(folders: list[Path]) -> dict[str, Path]:
    """All YAML files below some folders, by their path without ending, sorted; the first folder wins."""
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for folder in reversed(folders)
        for path in folder.rglob("*.yaml")
    }
    return dict(sorted(found.items()))


def git(*arguments: str) -> str | None:
    """What git answers about the checkout, None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

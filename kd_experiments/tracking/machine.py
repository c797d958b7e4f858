"""What a result was computed with: code, packages and hardware."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from typing import Any

import torch

from kd_experiments import __version__
from kd_experiments.places import PACKAGE
from kd_experiments.training import devices

PACKAGES = ("torch", "torchvision", "numpy", "hydra-core", "omegaconf", "scikit-learn", "wandb")


def environment(device: torch.device) -> dict[str, Any]:
    """Facts for a record; plain values."""
    return {
        "kd_experiments": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
    } | devices.describe(device)


@cache
def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


@cache
def _commit() -> str | None:
    """The checkout's commit, with `+changes` when tracked files differ from it; None for an installed wheel."""
    git = ["git", "-C", str(PACKAGE.parent)]
    try:
        tracked = subprocess.run(
            [*git, "ls-files", "--error-unmatch", "pyproject.toml"], capture_output=True, timeout=10
        )
        if tracked.returncode != 0:
            return None
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode != 0:
        return None
    return commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")

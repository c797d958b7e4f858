"""What a result was computed with: code, packages and hardware."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from kd_experiments import __version__, own_code
from kd_experiments.places import PACKAGE, git, home
from kd_experiments.tracking.record import Machine
from kd_experiments.training import devices, parallel

PACKAGES = ("torch", "torchvision", "numpy", "hydra-core", "omegaconf", "scikit-learn", "wandb")


def machine(device: torch.device) -> Machine:
    """The machine and the code of this process."""
    return Machine(
        cpu=devices.cpu_name(),
        capability=devices.capability(),
        device=device.type,
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else devices.cpu_name(),
        threads=torch.get_num_threads(),
        processes=parallel.processes(),
        python=platform.python_version(),
        platform=platform.platform(),
        packages={"kd_experiments": __version__} | _packages(),
        commit=_commit(tuple(own_code.packages())),
    )


@cache
def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


@cache
def _commit(own: tuple[Path, ...]) -> str | None:
    """The checkout's commit; None for an installed wheel.

    With `+changes` where a file of the package, the configuration or the user's own modules differs from it, or is not
    in it: an untracked method is a change, too.
    """
    checkout = PACKAGE.parent
    if not (checkout / "pyproject.toml").exists():
        return None
    watched = [PACKAGE, home() / "conf", *(place for place in own if place.is_relative_to(checkout))]
    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None or git("ls-files", "--error-unmatch", "pyproject.toml") is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=all", "--", *map(str, watched))
    return commit + ("+changes" if changed else "")

"""Networks by name: `build("resnet20", classes=100)`. Listing the names does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kd_experiments.networks.registry import CATALOGUE, OWN, TIMM, Entry, find, names, register

if TYPE_CHECKING:
    from kd_experiments.networks.base import Network, Output

__all__ = ["CATALOGUE", "Entry", "Network", "Output", "build", "find", "names", "register"]


def build(name: str, *, classes: int, channels: int = 3, size: int = 32) -> Network:
    """Build a freshly initialised network for images of (channels, size, size).

    The size changes no parameter: it is kept as `input_shape`, from which `feature_shapes()` follows.
    UserError for an unknown name.
    """
    entry = find(name)
    network: Network
    if entry.family in (OWN, TIMM):
        from kd_experiments.networks.adapted import make

        network = make(entry, classes=classes, channels=channels, size=size)
    else:
        maker = getattr(import_module(entry.module), entry.builder)
        network = maker(classes=classes, channels=channels, **entry.arguments)
    network.input_shape = (channels, size, size)
    return network


def __getattr__(name: str) -> Any:
    if name in ("Network", "Output"):
        return getattr(import_module("kd_experiments.networks.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

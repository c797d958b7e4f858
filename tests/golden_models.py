"""Compare a network with a reference entry: parameter count, parameter names and shapes, eval-mode outputs.

The reference outputs belong to weights that depend only on each parameter's name and shape, so no weight file
is needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd_experiments.networks import CATALOGUE, build

RELATIVE = 1e-9


def golden_weights(network: nn.Module) -> dict[str, Tensor]:
    """A float64 state dict for the network, every tensor drawn from a generator seeded by its name."""
    return {key: _golden_tensor(key, tuple(value.shape)) for key, value in network.state_dict().items()}


def _golden_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    draw = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var"):
        return torch.from_numpy(0.5 + draw**2)
    if key.endswith("running_mean"):
        return torch.from_numpy(0.1 * draw)
    if len(shape) == 1:
        return torch.from_numpy(float(key.endswith("weight")) + 0.1 * draw)
    return torch.from_numpy(draw * np.sqrt(2 / np.prod(shape[1:])))


def golden_images() -> Tensor:
    """(2, 3, 32, 32), float64."""
    return torch.from_numpy(np.random.default_rng(123).standard_normal((2, 3, 32, 32)))


def check_network(name: str, reference: Mapping[str, Any]) -> None:
    """AssertionError unless the network of that name (100 classes, 3x32x32) matches its reference entry."""
    assert name in CATALOGUE, f"{name}: the catalogue has no network of this name"
    network = build(name, classes=100).double().eval()

    parameters = sum(parameter.numel() for parameter in network.parameters())
    _same(name, "parameters", parameters, reference["parameters"])
    if "state_dict" in reference:
        state = {key: list(value.shape) for key, value in network.state_dict().items()}
        expected = {key: list(shape) for key, shape in reference["state_dict"]}
        missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
        assert not missing and not extra, f"{name}: parameter names missing {missing}, unexpected {extra}"
        for key, shape in expected.items():
            _same(name, f"shape of {key}", state[key], shape)

    network.load_state_dict(golden_weights(network), strict=True)
    with torch.no_grad():
        output = network(golden_images())
    shapes = [list(maps.shape[1:]) for maps in output.features]
    _same(name, "feature shapes", shapes, reference["feature_shapes"])
    _same(name, "embedding width", output.embedding.shape[1], reference["pooled"])
    before = [list(maps.shape[1:]) for maps in output.preactivations]
    _same(name, "pre-activation shapes", before, shapes)
    figures = {
        "logits_first5": output.logits[:, :5],
        "logits_abs_sum": output.logits.abs().sum(),
        "feature_abs_mean": torch.stack([maps.abs().mean() for maps in output.features]),
    }
    for figure, value in figures.items():
        if figure in reference:
            _close(name, figure, value, torch.tensor(reference[figure], dtype=torch.float64))


def _same(name: str, what: str, found: object, expected: object) -> None:
    assert found == expected, f"{name}: {what} is {found}, the reference says {expected}"


def _close(name: str, what: str, found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape, f"{name}: {what} has shape {found.shape}, not {expected.shape}"
    error = ((found - expected).abs() / expected.abs()).max().item()
    assert error <= RELATIVE, f"{name}: {what} is off by {error:.1e} relative: {found} instead of {expected}"

"""`python -m kd_experiments.networks` prints the catalogue: parameters, multiply-adds and feature shapes.

`imports=[my_kd]` adds the networks of your own code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from kd_experiments.cli.arguments import answered, asks_for_help, parse
from kd_experiments.networks import CATALOGUE, Network, build


def multiply_adds(network: Network) -> int:
    """Multiply-adds of the convolutions and linear layers for one image of the network's `input_shape`."""
    total = 0

    def count(layer: nn.Conv2d | nn.Linear, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        network.feature_shapes()
    finally:
        for hook in hooks:
            hook.remove()
    return total


def table() -> Table:
    """One row a network, at 3x32x32 with 100 classes or, for the ImageNet ones, 3x224x224 with 1000."""
    caption = "MACs: multiply-adds of one image; features: channels x size, stem first"
    rows = Table(title="Networks", caption=caption)
    rows.add_column("name")
    rows.add_column("input")
    for heading in ("parameters", "MACs"):
        rows.add_column(heading, justify="right")
    rows.add_column("features")
    rows.add_column("about")
    for entry in CATALOGUE.values():
        size = entry.native_size
        network = build(entry.name, classes=100 if size == 32 else 1000, size=size)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        features = " ".join(f"{channels}x{height}" for channels, height, _ in network.feature_shapes())
        macs = f"{multiply_adds(network) / 1e6:,.1f} M"
        rows.add_row(entry.name, f"3x{size}x{size}", f"{parameters:,}", macs, features, entry.about)
    return rows


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 2 for a mistake of the user."""
    return 0 if asks_for_help(arguments, __doc__ or "") else answered(lambda: _print(arguments), arguments)


def _print(arguments: Sequence[str]) -> int:
    parse(arguments, {})
    torch.manual_seed(0)
    Console().print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

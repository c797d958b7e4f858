"""Every network by its public name. Imports nothing heavy: configs list the names without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from kd_experiments import own_code
from kd_experiments.errors import UserError, no_such_choice

F = TypeVar("F", bound=Callable[..., Any])

OWN, TIMM = "own", "timm"  # families of networks that are not the suite's: see `adapted`


@dataclass(frozen=True)
class Entry:
    """How to build one network: `module.builder(classes=..., channels=..., **arguments)`."""

    name: str
    family: str
    module: str
    builder: str
    about: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    native_size: int = 32


def _package(module: str) -> str:
    return f"kd_experiments.networks.{module}"


def _cifar_resnet(depth: int, factor: int = 1) -> Entry:
    widths = (16, 16, 32, 64) if factor == 1 else (8 * factor, 16 * factor, 32 * factor, 64 * factor)
    name = f"resnet{depth}" + (f"x{factor}" if factor > 1 else "")
    about = f"CIFAR ResNet, {depth} layers, widths {'-'.join(map(str, widths))}"
    return Entry(name, "resnet", _package("resnet"), "ResNet", about, {"depth": depth, "widths": widths})


def _resnet(depth: int, block: str, blocks: tuple[int, ...]) -> Entry:
    about = f"ImageNet's ResNet-{depth} with a 3x3 stem for small images"
    arguments = {"block": block, "blocks": blocks}
    return Entry(f"ResNet{depth}", "ResNet", _package("resnet_imagenet_style"), "ResNet", about, arguments)


def _wide_resnet(depth: int, factor: int) -> Entry:
    about = f"wide ResNet, {depth} layers, widths {16 * factor}-{32 * factor}-{64 * factor}"
    arguments = {"depth": depth, "factor": factor}
    return Entry(f"wrn_{depth}_{factor}", "wrn", _package("wrn"), "WideResNet", about, arguments)


def _vgg(depth: int, convolutions: tuple[int, ...]) -> Entry:
    about = f"VGG-{depth} with batch norm and a single linear layer"
    return Entry(f"vgg{depth}", "vgg", _package("vgg"), "VGG", about, {"convolutions": convolutions})


def _torchvision(name: str, builder: str, about: str, **arguments: Any) -> Entry:
    arguments = {"model": name, **arguments}
    return Entry(f"tv_{name}", "torchvision", _package("torchvision_wrapped"), builder, about, arguments, 224)


_ENTRIES = (
    *(_cifar_resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)),
    _cifar_resnet(8, 4),
    _cifar_resnet(32, 4),
    _resnet(18, "BasicBlock", (2, 2, 2, 2)),
    _resnet(34, "BasicBlock", (3, 4, 6, 3)),
    _resnet(50, "Bottleneck", (3, 4, 6, 3)),
    _wide_resnet(16, 1),
    _wide_resnet(16, 2),
    _wide_resnet(40, 1),
    _wide_resnet(40, 2),
    _vgg(8, (1, 1, 1, 1, 1)),
    _vgg(11, (1, 1, 2, 2, 2)),
    _vgg(13, (2, 2, 2, 2, 2)),
    _vgg(16, (2, 2, 3, 3, 3)),
    _vgg(19, (2, 2, 4, 4, 4)),
    Entry("MobileNetV2", "MobileNetV2", _package("mobilenet_v2"), "MobileNetV2",
          "MobileNetV2 at half width (mobile_half)", {"width": 0.5}),
    Entry("ShuffleV1", "ShuffleNet", _package("shuffle_v1"), "ShuffleNetV1", "ShuffleNet, 3 groups"),
    Entry("ShuffleV2", "ShuffleNet", _package("shuffle_v2"), "ShuffleNetV2", "ShuffleNetV2, width 1"),
    Entry("MobileNetV1", "MobileNetV1", _package("mobilenet_v1"), "MobileNetV1",
          "MobileNet, width 1, for ImageNet", native_size=224),
    _torchvision("resnet18", "TorchvisionResNet", "torchvision's ResNet-18"),
    _torchvision("resnet34", "TorchvisionResNet", "torchvision's ResNet-34"),
    _torchvision("resnet50", "TorchvisionResNet", "torchvision's ResNet-50"),
    _torchvision("mobilenet_v2", "TorchvisionMobileNet", "torchvision's MobileNetV2", stages=(3, 6, 13, 17)),
    _torchvision("mobilenet_v3_large", "TorchvisionMobileNet", "torchvision's MobileNetV3 (large)",
                 stages=(3, 6, 12, 15)),
)  # fmt: skip

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def names() -> list[str]:
    """The public names, in the catalogue's order."""
    return list(CATALOGUE)


def register(name: str, about: str = "") -> Callable[[F], F]:
    """Above a class or a function that makes an `nn.Module`: gives it a name, as which it can be chosen."""

    def add(factory: F) -> F:
        if name in CATALOGUE:
            raise ValueError(f"network {name!r} is registered twice")
        said = about or (factory.__doc__ or "the user's own").strip().splitlines()[0]
        CATALOGUE[name] = Entry(name, OWN, factory.__module__, factory.__qualname__, said)
        return factory

    return add


def find(name: str) -> Entry:
    """The entry of that name: one of the catalogue, `timm:NAME`, or `MODULE.FUNCTION` of the user's own.

    UserError, with the near miss and all choices, where there is none.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.startswith(f"{TIMM}:"):
        return Entry(name, TIMM, "timm", name.removeprefix(f"{TIMM}:"), "of timm")
    check_name("network", name)
    module, _, builder = name.rpartition(".")
    return Entry(name, OWN, module, builder, "the user's own")


def find_module(entry: Entry) -> ModuleType:
    """The module that makes a network; `UserError` where it cannot be imported.

    A configuration may come from a stranger: only code that the user has named is imported.
    """
    top = entry.module.split(".")[0]
    if entry.name not in CATALOGUE and entry.family == OWN:
        tops = {module.__name__.split(".")[0] for module in own_code.load()}
        if top not in tops and not f"{entry.module}.".startswith("torchvision.models."):
            raise UserError(f"network={entry.name}: {top} is not among your own code; add imports=[{top}]")
    try:
        return import_module(entry.module)
    except ImportError as error:
        if entry.family == TIMM:
            raise UserError(f"network={entry.name}: type: pip install 'kd_experiments[timm]'") from error
        raise UserError(f"network={entry.name}: no such function or class ({error}); give MODULE.FUNCTION") from error


def check_name(key: str, name: str) -> None:
    """UserError, with the near miss, where `name`, given at `key`, can be no network."""
    if name not in CATALOGUE and not name.startswith(f"{TIMM}:") and "." not in name:
        raise no_such_choice(key, name, CATALOGUE)

"""Any `nn.Module` that maps images to logits, as a network of the suite.

A factory is called with those of `classes` (or `num_classes`), `channels` (or `in_channels`, `in_chans`) and `size` (or
`image_size`, `img_size`) that it has parameters for. Its module may name the submodules whose outputs are features:
`module.feature_modules = ("layer1", "layer2")`; without, only methods that compare logits can use it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.networks.base import Network, Output
from kd_experiments.networks.registry import TIMM, Entry, find_module

_NAMES = {
    "classes": ("classes", "num_classes"),
    "channels": ("channels", "in_channels", "in_chans"),
    "size": ("size", "image_size", "img_size"),
}


class Adapted(Network):
    """A module with the outputs of its `feature_modules`; its state dict is the module's own.

    The embedding is what the last linear layer reads, where that layer gives the logits; else it is empty, (B, 0).
    Nothing is known of what comes before a feature's activation: pre-activations are the features themselves.
    """

    def __init__(self, model: nn.Module, classes: int, feature_modules: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._feature_modules = tuple(feature_modules)
        linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == classes]
        self._head = linear[-1:]  # in a list: it is a child of the model already
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, images: Tensor) -> Output:
        features: dict[str, Tensor] = {}
        read: list[Tensor] = []
        handles: list[RemovableHandle] = []
        try:
            for name in self._feature_modules:
                hook = _keeper(features, name)
                handles.append(self.model.get_submodule(name).register_forward_hook(hook))
            for layer in self._head:
                handles.append(layer.register_forward_pre_hook(lambda _, given: read.append(given[0])))
            logits = self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        maps = tuple(features[name] for name in self._feature_modules)
        embedding = read[-1] if read and read[-1].dim() == 2 else logits.new_empty(len(logits), 0)
        return Output(logits, maps, maps, embedding)

    @property
    def classifier(self) -> nn.Linear:
        if not self._head:
            raise UserError(
                f"{type(self.model).__name__}: its logits do not come from a linear layer, which this method reads; "
                f"choose another network or another method"
            )
        return self._head[0]

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [None] * len(self._feature_modules)

    def forget_head(self) -> None:
        """The last linear layer does not give the logits after all."""
        self._head = []


def make(entry: Entry, *, classes: int, channels: int, size: int) -> Network:
    """Build a network of the user's or of timm, and try it on one image; `UserError` for what is no classifier."""
    asked = {"classes": classes, "channels": channels, "size": size}
    model = _timm_model(entry, classes, channels) if entry.family == TIMM else _called(entry, asked)
    if isinstance(model, Network):
        return model
    if not isinstance(model, nn.Module):
        raise UserError(f"network={entry.name}: gives a {type(model).__name__}, not an nn.Module")
    names = feature_modules(model)
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise UserError(f"network={entry.name}: feature_modules: no submodule {name}{did_you_mean(name, known)}")
    network = Adapted(model, classes, names)
    _try(network, entry.name, asked)
    return network


def feature_modules(model: nn.Module) -> tuple[str, ...]:
    """The submodules whose outputs a module says are its features; timm's networks list theirs."""
    named = getattr(model, "feature_modules", None)
    if named is None:
        listed = getattr(model, "feature_info", None)
        named = [stage["module"] for stage in listed] if isinstance(listed, list) else ()
    return (named,) if isinstance(named, str) else tuple(named)


def _called(entry: Entry, asked: Mapping[str, int]) -> Any:
    factory: Any = find_module(entry)
    try:
        for part in entry.builder.split("."):
            factory = getattr(factory, part)
        known = inspect.signature(factory).parameters
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"network={entry.name}: no such function or class ({error}); give MODULE.FUNCTION") from error
    given = {name: asked[what] for what, names in _NAMES.items() for name in names if name in known}
    if not any(name in given for name in _NAMES["classes"]) and any(p.kind is p.VAR_KEYWORD for p in known.values()):
        given["num_classes"] = asked["classes"]
    needed = [
        name
        for name, parameter in known.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and name not in given
    ]
    if needed:
        raise UserError(
            f"network={entry.name}: asks for {', '.join(needed)}; a factory is called with classes, channels and size"
        )
    return factory(**given)


def _timm_model(entry: Entry, classes: int, channels: int) -> Any:
    timm: Any = find_module(entry)
    name = entry.builder
    if not timm.is_model(name):
        raise UserError(f"network=timm:{name}: timm has no such model{did_you_mean(name, timm.list_models())}")
    return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels)


@torch.no_grad()
def _try(network: Adapted, name: str, asked: Mapping[str, int]) -> None:
    """One image forward: the logits must be (1, classes), features maps, the embedding their source."""
    images = torch.rand(1, asked["channels"], asked["size"], asked["size"])
    mode = network.training
    try:
        output = network.eval()(images)
    except UserError:
        raise
    except Exception as error:  # somebody else's code can fail in any way
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"network={name}: fails on images of {tuple(images.shape[1:])}: {first}") from error
    finally:
        network.train(mode)
    if not isinstance(output.logits, Tensor) or output.logits.shape != (1, asked["classes"]):
        found = tuple(output.logits.shape) if isinstance(output.logits, Tensor) else type(output.logits).__name__
        raise UserError(
            f"network={name}: gives {found} for one image of {asked['classes']} classes, not (1, {asked['classes']}); "
            f"let its factory take classes (or num_classes)"
        )
    for place, maps in enumerate(output.features):
        if maps.dim() != 4:
            raise UserError(
                f"network={name}: feature_modules: output {place} has shape {tuple(maps.shape)}, not (B, C, H, W)"
            )
    if output.embedding.shape[1] and not torch.allclose(
        network.classifier(output.embedding), output.logits, rtol=1e-3, atol=1e-4
    ):
        network.forget_head()


def _keeper(kept: dict[str, Tensor], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, given: Any, output: Tensor) -> None:
        kept[name] = output

    return keep


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The keys of the user's own state dict, so that its files load as they are."""
    for key in [key for key in state if key.startswith(f"{prefix}model.")]:
        state[prefix + key.removeprefix(f"{prefix}model.")] = state.pop(key)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[f"{prefix}model.{key.removeprefix(prefix)}"] = state.pop(key)

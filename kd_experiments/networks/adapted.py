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
        if not isinstance(logits, Tensor):
            mode = "training" if self.training else "evaluation"
            raise UserError(
                f"{type(self.model).__name__}: gives a {type(logits).__name__} in {mode}, not logits (B, classes); "
                f"choose another network, or a function of your own that makes one which gives the logits alone"
            )
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

    def forget_features(self) -> None:
        """What was taken for features are no maps."""
        self._feature_modules = ()


def make(entry: Entry, *, classes: int, channels: int, size: int) -> Network:
    """Build a network of the user's or of timm, and try it on one image; `UserError` for what is no classifier."""
    asked = {"classes": classes, "channels": channels, "size": size}
    try:
        model = _timm_model(entry, asked) if entry.family == TIMM else _called(entry, asked)
    except UserError:
        raise
    except Exception as error:  # somebody else's code can fail in any way
        raise UserError(f"network={entry.name}: cannot be made: {_reason(error)}") from error
    if isinstance(model, Network):
        return model
    if not isinstance(model, nn.Module):
        raise UserError(f"network={entry.name}: gives a {type(model).__name__}, not an nn.Module")
    own, known = _own_features(model), [name for name, _ in model.named_modules() if name]
    for name in own:
        if name not in known:
            raise UserError(f"network={entry.name}: feature_modules: no submodule {name}{did_you_mean(name, known)}")
    listed = {} if own else _timm_features(model)
    network = Adapted(model, classes, own or (tuple(listed) if listed.keys() <= set(known) else ()))
    _try(network, entry.name, asked, listed)
    return network


def _own_features(model: nn.Module) -> tuple[str, ...]:
    """The submodules whose outputs a module says are its features."""
    named = getattr(model, "feature_modules", None) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _timm_features(model: nn.Module) -> dict[str, int | None]:
    """The submodules that one of timm's networks lists as its stages, and their channels."""
    listed = getattr(model, "feature_info", None)
    return {stage["module"]: stage.get("num_chs") for stage in listed} if isinstance(listed, list) else {}


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


def _timm_model(entry: Entry, asked: Mapping[str, int]) -> Any:
    timm: Any = find_module(entry)
    name = entry.builder
    if not timm.is_model(name):
        raise UserError(f"network=timm:{name}: timm has no such model{did_you_mean(name, timm.list_models())}")
    given = {"pretrained": False, "num_classes": asked["classes"], "in_chans": asked["channels"]}
    try:
        return timm.create_model(name, img_size=asked["size"], **given)
    except TypeError:  # convolutions take images of any size, and no such word
        return timm.create_model(name, **given)


@torch.no_grad()
def _try(network: Adapted, name: str, asked: Mapping[str, int], listed: Mapping[str, int | None]) -> None:
    """One image forward: the logits must be (1, classes), features maps, the embedding their source.

    What timm has `listed` counts where it is maps with that many channels: of transformers it often is not.
    """
    images = torch.rand(1, asked["channels"], asked["size"], asked["size"])
    mode = network.training
    try:
        output = network.eval()(images)
    except UserError:
        raise
    except Exception as error:  # somebody else's code can fail in any way
        raise UserError(f"network={name}: fails on images of {tuple(images.shape[1:])}: {_reason(error)}") from error
    finally:
        network.train(mode)
    if output.logits.shape != (1, asked["classes"]):
        raise UserError(
            f"network={name}: gives {tuple(output.logits.shape)} for one image of {asked['classes']} classes, not "
            f"(1, {asked['classes']}); let its factory take classes (or num_classes)"
        )
    shapes = [tuple(maps.shape) if isinstance(maps, Tensor) else () for maps in output.features]
    for place, shape in enumerate(shapes):
        if len(shape) != 4 and not listed:
            raise UserError(f"network={name}: feature_modules: output {place} has shape {shape}, not (B, C, H, W)")
    if listed and [shape[1] if len(shape) == 4 else None for shape in shapes] != list(listed.values()):
        network.forget_features()
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
    _rename(state, f"{prefix}model.", prefix)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    _rename(state, prefix, f"{prefix}model.")


def _rename(state: dict[str, Any], old: str, new: str) -> None:
    """Let the keys that begin with `old` begin with `new`: all at once, for one's new name may be another's old one."""
    state.update({new + key.removeprefix(old): state.pop(key) for key in list(state) if key.startswith(old)})


def _reason(error: Exception) -> str:
    """The first line of what somebody else's code says."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

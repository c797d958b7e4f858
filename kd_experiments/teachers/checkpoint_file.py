"""Reading a network's weights from a file somebody else may have written, or from torchvision by name.

`teacher.checkpoint=FILE` is a bare state dict or a dict that holds one, as the public benchmarks save it:
`{"model": state dict, "epoch": 240, "best_acc": 72.3}`. `teacher.checkpoint=torchvision:IMAGENET1K_V1` are the weights
torchvision publishes for a tv_* network.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.networks import Network, find
from kd_experiments.teachers.pickle_scan import refuse_costly

PREFIXES = ("module.", "student.", "teacher.")
STATE_KEYS = ("model", "state_dict", "network")
ACCURACY_KEYS = ("accuracy", "best_acc")  # of these very weights; of the best epoch so far, which may be another one
_WRAPPERS = 10  # prefixes that are removed, at most
TORCHVISION = "torchvision:"
TOLERANCE = 0.5  # points between the accuracy a checkpoint states and the one measured here

# Some public code keeps its accuracies as NumPy scalars. These say how one is rebuilt, and can do nothing else.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType),
]


def fingerprint(path: Path) -> str:
    """What stands for a checkpoint in signatures: SHA-256 of the file; torchvision's weights go by their name."""
    if str(path).startswith(TORCHVISION):
        return str(path)
    if not path.is_file():
        raise UserError(f"teacher.checkpoint={path}: there is no such file")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"teacher.checkpoint={path}: cannot be read ({error.strerror})") from error


@contextlib.contextmanager
def told_of(key: str) -> Iterator[None]:
    """Where a network other than the teacher starts from a file: what is wrong with it is told of that key."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("teacher.checkpoint", key)) from error


def given_state(given: str, network: str, downloads: Path) -> dict[str, Tensor]:
    """The state dict that `teacher.checkpoint` stands for: in a file, or torchvision's for this network."""
    if given.startswith(TORCHVISION):
        return _torchvision_state(given, network, downloads)
    return read_state(Path(given))


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file: bare, or under the key `model`, `state_dict` or `network`; prefixes are stripped."""
    return strip_prefixes(_find_state(path, _content(path)))


def stated_accuracy(given: str, network: str) -> float | None:
    """The test accuracy in percent that a checkpoint says its weights have, or None where it says nothing.

    A number up to 1 is taken for a share.
    """
    if given.startswith(TORCHVISION):
        value = _torchvision_weights(given, network).meta["_metrics"]["ImageNet-1K"]["acc@1"]
    else:
        content = _content(Path(given))
        stated = [content[key] for key in ACCURACY_KEYS if key in content] if isinstance(content, dict) else []
        value = next(iter(stated), None)
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float | np.floating) or not 0 < value <= 100:  # -1: never measured
        return None
    return float(value) * (100 if value <= 1 else 1)


def compare_accuracy(given: str, stated: float, measured: float) -> str:
    """One line: does the teacher do here what its checkpoint says it does? Both in percent."""
    if abs(stated - measured) <= TOLERANCE:
        return f"teacher.checkpoint={given} states {stated:.2f} % test accuracy, {measured:.2f} % measured here"
    return (
        f"warning: teacher.checkpoint={given} states {stated:.2f} % test accuracy, but {measured:.2f} % is measured "
        f"here; was it trained on this data set, with this order of the classes, and images normalised like these "
        f"(teacher.mean and teacher.std say how else)?"
    )


def _content(path: Path) -> Any:
    """What a file holds. Only tensors, numbers and plain containers are unpickled: nothing in it is ever run."""
    refuse_costly(path)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_unpickling_reason(path, str(error))) from error
    except Exception as error:  # a damaged file can break the reader in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"teacher.checkpoint={path}: not a readable checkpoint ({reason}); is it truncated?") from error


def _torchvision_weights(given: str, network: str) -> Any:
    """The entry of torchvision's list of weights, a `WeightsEnum`."""
    from torchvision.models import get_model_weights

    entry = find(network)
    if entry.family != "torchvision":
        raise UserError(
            f"teacher.checkpoint={given}: torchvision has no weights for {network}; give teacher=tv_resnet34 or "
            f"another tv_* network"
        )
    weights = {f"{TORCHVISION}{choice.name}": choice for choice in get_model_weights(entry.arguments["model"])}
    if given not in weights:
        raise no_such_choice("teacher.checkpoint", given, weights)
    return weights[given]


def _torchvision_state(given: str, network: str, downloads: Path) -> dict[str, Tensor]:
    """torchvision's weights: as another program has downloaded them, or else downloaded to `downloads`."""
    weights = _torchvision_weights(given, network)
    known = Path(torch.hub.get_dir()) / "checkpoints"
    folder = known if (known / Path(weights.url).name).exists() else downloads
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            model_dir=str(folder), map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # the network and a damaged file can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"teacher.checkpoint={given}: cannot be had ({reason}); get {weights.url} in another way and give "
            f"teacher.checkpoint=FILE"
        ) from error
    return state


def _unpickling_reason(path: Path, message: str) -> str:
    if "Unsupported global" in message or "GLOBAL" in message:
        culprit = message.split("GLOBAL ", 1)[1].split()[0] if "GLOBAL " in message else "an object"
        return (
            f"teacher.checkpoint={path}: refused, because it holds a pickled object ({culprit}) and loading it "
            f"could run code; save the state dict alone with torch.save({{'model': network.state_dict()}}, FILE)"
        )
    return (
        f"teacher.checkpoint={path}: refused, because it cannot be read safely; it is truncated, another kind of file, "
        f"or a pickle that holds more than tensors"
    )


def _find_state(path: Path, content: Any) -> dict[str, Tensor]:
    if isinstance(content, dict):
        for key in STATE_KEYS:
            if isinstance(content.get(key), dict):
                content = content[key]
                break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(key): value for key, value in content.items()}
    raise UserError(
        f"teacher.checkpoint={path}: holds no state dict; expected tensors by name, bare or under the key 'model'"
    )


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove `module.` and the like where every key has it; a few wrappers stand around a network, not thousands."""
    for _ in range(_WRAPPERS):
        common = [prefix for prefix in PREFIXES if state and all(key.startswith(prefix) for key in state)]
        if not common:
            break
        state = {key.removeprefix(common[0]): value for key, value in state.items()}
    return state


def load_into(network: Network, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load strictly, or say in one line how the file and the network differ."""
    expected = network.state_dict()
    where = f"teacher.checkpoint={path}"
    # Files from before PyTorch 0.4.1, some of torchvision's among them, do not count batches; nothing here uses it.
    state = {key: tensor for key, tensor in expected.items() if key.endswith("num_batches_tracked")} | state
    missing, surplus = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or surplus:
        parts = [_listed(verb, keys) for verb, keys in (("lacks", missing), ("has besides", surplus)) if keys]
        raise UserError(
            f"{where}: not the weights of {name}: it {' and '.join(parts)}; give the teacher=NETWORK it belongs to"
        )
    head = _head_keys(network)
    for key, tensor in expected.items():
        if state[key].shape == tensor.shape:
            continue
        if key in head:
            raise UserError(
                f"{where}: made for {state[key].shape[0]} classes, but this data set has {tensor.shape[0]}; "
                f"give a checkpoint trained on this data set"
            )
        raise UserError(
            f"{where}: {key} has shape {list(state[key].shape)}, but {name} on this data set needs "
            f"{list(tensor.shape)}; give the teacher=NETWORK and the dataset it belongs to"
        )
    for key, tensor in expected.items():
        reason = _unusable(state[key], tensor)
        if reason is not None:
            raise UserError(f"{where}: {key} {reason}; save the weights as float32 and give that file")
    network.load_state_dict(state, strict=True)


def _head_keys(network: Network) -> set[str]:
    """The keys of the layer with a row for each class; none where a network of the user's own has no such layer."""
    try:
        head = set(map(id, network.classifier.parameters()))
    except UserError:
        return set()
    return {key for key, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in head}


def _unusable(given: Tensor, expected: Tensor) -> str | None:
    """Why a tensor of the right shape is nothing to compute with, or None."""
    if given.layout != torch.strided or given.is_quantized or given.device.type == "meta":
        kind = "quantised" if given.is_quantized else "empty (meta)" if given.device.type == "meta" else "sparse"
        return f"is {kind}"
    if given.is_floating_point() != expected.is_floating_point() or given.is_complex():
        return f"has numbers of type {str(given.dtype).removeprefix('torch.')}"
    if given.is_floating_point():
        finite = torch.isfinite(given.float())
        if not finite.all():
            return f"has {int((~finite).sum())} values that are not finite"
    return None


def _listed(verb: str, keys: list[str]) -> str:
    return f"{verb} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")

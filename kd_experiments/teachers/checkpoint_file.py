"""Reading a network's weights from a file somebody else may have written."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_experiments.errors import UserError
from kd_experiments.networks import Network

PREFIXES = ("module.", "student.", "teacher.")
STATE_KEYS = ("model", "state_dict", "network")


def fingerprint(path: Path) -> str:
    """SHA-256 of a checkpoint file, hexadecimal."""
    if not path.is_file():
        raise UserError(f"teacher.checkpoint={path}: there is no such file")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"teacher.checkpoint={path}: cannot be read ({error.strerror})") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file: bare, or under the key `model`, `state_dict` or `network`; prefixes are stripped.

    Only tensors and plain containers are unpickled; a file that wants to run code is refused and does not run it.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_unpickling_reason(path, str(error))) from error
    except Exception as error:  # a damaged file can break the reader in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"teacher.checkpoint={path}: not a readable checkpoint ({reason}); is it truncated?") from error
    return strip_prefixes(_find_state(path, content))


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
            return dict(content)
    raise UserError(
        f"teacher.checkpoint={path}: holds no state dict; expected tensors by name, bare or under the key 'model'"
    )


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove `module.` and the like where every key has it."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return strip_prefixes({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def load_into(network: Network, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load strictly, or say in one line how the file and the network differ."""
    expected = network.state_dict()
    where = f"teacher.checkpoint={path}"
    missing, surplus = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or surplus:
        parts = [_listed(verb, keys) for verb, keys in (("lacks", missing), ("has besides", surplus)) if keys]
        raise UserError(
            f"{where}: not the weights of {name}: it {' and '.join(parts)}; give the teacher=NETWORK it belongs to"
        )
    for key, tensor in expected.items():
        if state[key].shape == tensor.shape:
            continue
        last = next(n for n, module in network.named_modules() if module is network.classifier)
        if key.startswith(f"{last}."):
            raise UserError(
                f"{where}: made for {state[key].shape[0]} classes, but this data set has {tensor.shape[0]}; "
                f"give a checkpoint trained on this data set"
            )
        raise UserError(
            f"{where}: {key} has shape {list(state[key].shape)}, but {name} on this data set needs "
            f"{list(tensor.shape)}; give the teacher=NETWORK and the dataset it belongs to"
        )
    network.load_state_dict(state, strict=True)


def _listed(verb: str, keys: list[str]) -> str:
    return f"{verb} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")

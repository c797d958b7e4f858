"""What people type out of habit, each answered with what to type here, before anything is composed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kd_experiments.cli.choices import choices
from kd_experiments.errors import UserError, did_you_mean, no_such_choice, shortened

# Flags that Hydra or this suite knows; those of the second row are followed by a value.
_FLAGS = {"-m", "--multirun", "--signature", "--resolve", "--hydra-help", "--version", "-i", "--info"}
_WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-cn", "--config-name", "-cd", "--config-dir", "-cp", "--config-path"}

# Another project's word -> ours.
_KEYS = {
    "epochs": "recipe.epochs",
    "lr": "recipe.lr",
    "learning_rate": "recipe.lr",
    "batch_size": "recipe.batch_size",
    "optimizer": "recipe.optimizer",
    "weight_decay": "recipe.weight_decay",
    "tau": "temperature.value",
    "T": "temperature.value",
    "ratio": "selection.ratio",
    "noise": "label_noise.rate",
    "data": "dataset.root",
    "model": "student",
    "checkpoint": "teacher.checkpoint",
    "output": "paths.results",
    "results": "paths.results",
}
# A group given a number -> the number's own key.
_NUMBERS = {
    "temperature": "temperature.value={}",
    "selection": "selection=influence selection.ratio={}",
    "label_noise": "label_noise=symmetric label_noise.rate={}",
    "recipe": "recipe.epochs={}",
}
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)(e-?\d+)?")


def refuse(arguments: Sequence[str]) -> None:
    """`UserError` for the first argument that is a known mistake."""
    expects_value = False
    for place, argument in enumerate(arguments):
        if expects_value or argument in _FLAGS:
            expects_value = False
            continue
        if argument in _WITH_VALUE:
            expects_value = True
            continue
        key, equals, value = argument.partition("=")
        if argument.startswith("-"):
            raise UserError(_flag(key, value if equals else "".join(arguments[place + 1 : place + 2])))
        said = _value(key, value) if equals else _word(argument)
        if said is not None:
            raise UserError(said)


def _flag(flag: str, value: str) -> str:
    name = flag.lstrip("-").replace("-", "_")
    if name in ("resume", "continue"):
        return f"{flag}: no such flag; the same command again goes on where it stopped"
    if name in ("gpu", "gpus", "wandb"):
        return str(_value(name, value))
    key = _KEYS.get(name, name)
    if key != name or name in ("seed", "device", "threads", "precision", *choices()):
        value = value if value and not value.startswith("-") else "VALUE"
        return f"{flag}: values are typed without dashes; type {key}={value}"
    return f"{flag}: no such flag{did_you_mean(flag, ['--help', *_FLAGS, *_WITH_VALUE])}; --help shows what there is"


def _word(word: str) -> str | None:
    """One word without "="."""
    if word in ("help", "h", "?"):
        return f"{word}: type --help"
    if word.startswith("~"):
        return None  # Hydra's own way to remove a key
    for group, names in choices().items():
        if word in names:
            return f"{word}: cannot be read as key=value; did you mean {group}={word}?"
    if word in choices():
        return f"{word}: cannot be read as key=value; type {word}=CHOICE, --help lists the choices"
    return None


def _value(key: str, value: str) -> str | None:
    """A key and its value."""
    if key.endswith("seed") and (found := re.fullmatch(r"(\d+)(?:-|\.\.|:)(\d+)", value)):
        first, last = int(found[1]), int(found[2])
        return f"{key}={value}: for several seeds type --multirun '{key}=range({first},{last + 1})'"
    if key in ("gpu", "gpus") or (key == "device" and value.startswith("cuda:")):
        number = value.removeprefix("cuda:") or "0"
        return f"{key}={value}: type device=cuda; which GPU is said by the variable CUDA_VISIBLE_DEVICES={number}"
    if key == "device" and value == "gpu":
        return "device=gpu: type device=cuda"
    if key == "wandb" or (key == "tracking" and value in ("false", "off", "none", "null", "disabled")):
        mode = "offline" if value in ("true", "on", "offline") else "disabled"
        mode = "online" if value == "online" else mode
        return f"{key}={value}: type tracking.mode={mode}"
    if (bare := key.lstrip("+")) in _KEYS:
        return f"{key}={value}: no such key; type {_KEYS[bare]}={value}"
    if not key.strip("+"):
        return f"{key}={value}: cannot be read as key=value; type KEY={value}, --help lists the keys"
    if value.startswith("{") and key in choices():
        return f"{key}={shortened(value)}: type {key}=CHOICE, and other values one by one: {key}.KEY=VALUE"
    if all(map(_NUMBER.fullmatch, value.split(","))) or value in ("true", "false", "null"):
        if key in _NUMBERS:
            return (
                f"{key}={value}: {key} is a group, its number has a key of its own; type {_NUMBERS[key].format(value)}"
            )
        if key in ("teacher", "student", "peer"):
            near = [name for name in choices()[key] if re.search(rf"\D{re.escape(value)}$", name)]
            hint = f"; did you mean {key}={near[0]}?" if near else ""
            return f"{key}={value}: expected the name of a network{hint} (--help lists them)"
        if key in choices():
            return str(no_such_choice(key, value, choices()[key]))
    return None

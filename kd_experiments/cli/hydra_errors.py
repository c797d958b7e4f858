"""Hydra's and OmegaConf's errors, each as one clear sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_experiments import private
from kd_experiments.cli import choices, guard, launcher_errors
from kd_experiments.cli.composing import composer
from kd_experiments.errors import did_you_mean, no_such_choice
from kd_experiments.places import files_of


def explain(error: BaseException, arguments: Sequence[str]) -> str | None:
    """What is wrong with the command line, or None when the error is not the user's."""
    said = launcher_errors.explain(error)
    if said is not None:
        return said
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename or 'a file'}: {error.strerror}; give paths.results=FOLDER that you may write to"
    if isinstance(error, MemoryError):
        return "out of memory before anything was trained; give this process more, or dataset.train_size=N"
    if isinstance(error, RecursionError | yaml.YAMLError):
        return f"the configuration cannot be read: {guard.yaml_reason(error)}"
    of_parser = isinstance(error, ValueError | AttributeError | TypeError) and _raised_in(error, ("hydra", "omegaconf"))
    if not of_parser and not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    for pattern, sentence in (
        (r"Could not (?:find|load) '([^']+)/([^'/]+)'", _no_choice),
        (r"Could not override '([^']+)'\. No match in the defaults list", _no_group),
        (r"Could not override '([^']+)'", _no_key),
        (r"Key '([^']+)' is not in struct", _no_key),
        (r"Ambiguous value for argument '([^']+)'", _ambiguous),
        (r"Sweep parameters '(.+)' requires --multirun", _ambiguous),
        (r"Interpolation key '([^']+)' not found", _no_interpolation),
        (
            r"Error parsing override|missing EQUAL at|mismatched input|no viable alternative|token recognition|Lexer",
            _unreadable,
        ),
    ):
        found = re.search(pattern, text)
        if found:
            return sentence(found, text, arguments)
    said = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return said or f"{' '.join(arguments)}: cannot be composed ({type(error).__name__})"


def _raised_in(error: BaseException, packages: tuple[str, ...]) -> bool:
    """Was it a library that gave up, over what the user typed, and not a line of ours?"""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__")).split(".")[0] in packages


def _no_choice(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    group, given = found.groups()
    if f"{group}/{given}" in launcher_errors.EXTRAS:
        return launcher_errors.not_installed(group, given, arguments)
    first, _, folder = group.partition("/")  # experiment=cifar100/vgg13_vgg8
    known = choices.choices()
    for key in (first, f"+{first}"):
        if key in known:
            return str(no_such_choice(key, f"{folder}/{given}" if folder else given, known[key]))
    return str(no_such_choice(group, given, re.findall(r"^\t(\S+)$", text, re.MULTILINE)))


def _no_group(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    return _unknown(found.group(1), arguments)


def _no_key(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    full = re.search(r"full_key: (\S+)", text)
    key = full.group(1) if full else found.group(1)
    longest = max((found.group(1), key), key=len)
    return _unknown(longest, arguments)


def _unknown(key: str, arguments: Sequence[str]) -> str:
    group = key.split(".", 1)[0]
    composed = _compose_choices(arguments)
    choice = OmegaConf.select(composed, f"{group}.name") if composed is not None else None
    where = f" for {group}={choice}" if isinstance(choice, str) else ""
    content: Any = {} if composed is None else OmegaConf.to_container(composed)
    keys = _flat(content)
    if "." in key:  # the key may be there under another choice of the same group
        others = _keys_of_other_choices(group)
        near = get_close_matches(key.split(".", 1)[1], others, n=1)
        if near and f"{group}.{near[0]}" not in keys:
            return f"{key}: no such key{where}; {group}.{near[0]} goes with {group}={' or '.join(others[near[0]])}"
    return f"{key}: no such key{where}{did_you_mean(key, keys)}"


def _keys_of_other_choices(group: str) -> dict[str, list[str]]:
    """Key -> the choices of a group that have it, from the group's files."""
    found: dict[str, list[str]] = {}
    for name, path in files_of(group).items():
        content = OmegaConf.load(path)
        for key in OmegaConf.select(content, "method") if group == "method" else content:
            found.setdefault(str(key), []).append(name)
    return found


def _ambiguous(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    return f"{found.group(1)}: several values; add --multirun to run each of them"


def _no_interpolation(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    return f"${{{found.group(1)}}}: there is no such key whose value could stand here; give the value itself"


def _unreadable(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    named = re.search(r"Error parsing override '(.*)'|LexerNoViableAltException: (.*)", text)
    culprit = (named[1] or named[2]) if named else next((one for one in arguments if not _parses(one)), "")
    culprit = culprit or " ".join(arguments)
    return f"{culprit}: cannot be read as key=value; put quotes around values that hold spaces, brackets or commas"


def _parses(argument: str) -> bool:
    if argument.startswith("-"):
        return True
    try:
        private.parsed([argument])
    except Exception:  # Hydra's parser has no one kind of error
        return False
    return True


def _compose_choices(arguments: Sequence[str]) -> DictConfig | None:
    """The configuration that the choices alone give, to know which keys there are."""
    chosen = [a for a in arguments if re.fullmatch(r"[a-z_/@.]+=[A-Za-z0-9_/]+", a)]
    chosen = [a for a in chosen if "." not in a.split("=")[0] or "@" in a]
    try:
        with composer():
            try:
                return compose("config", chosen)
            except HydraException:
                return compose("config", [])
    except (HydraException, OmegaConfBaseException):
        return None


def _flat(content: Mapping[Any, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in content.items():
        full = f"{prefix}{key!s}"
        keys += [full, *(_flat(value, f"{full}.") if isinstance(value, Mapping) else [])]
    return keys

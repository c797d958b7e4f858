"""Hydra's, OmegaConf's and the launchers' errors, each as one clear sentence."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_experiments import private
from kd_experiments.cli import choices, guard
from kd_experiments.cli.composing import composer
from kd_experiments.errors import did_you_mean, no_such_choice
from kd_experiments.places import files_of

_Sentence = Callable[[re.Match[str], str, Sequence[str]], str]

# What a plugin of Hydra offers -> the extra of this package that installs the plugin.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/ray_aws": "ray",
    "hydra/sweeper/optuna": "tune",
}

# By name, since their libraries may not be installed.
_LOST = ("UncompletedJobError", "TerminatedWorkerError", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError")


def explain(error: BaseException, arguments: Sequence[str]) -> str | None:
    """What is wrong with the command line, or None when the error is not the user's."""
    said = of_launcher(error)
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
    sentences: tuple[tuple[str, _Sentence], ...] = (
        (r"Could not (?:find|load) '([^']+)/([^'/]+)'", _no_choice),
        (r"Could not override '([^']+)'", _no_key),
        (r"Key '([^']+)' is not in struct", _no_key),
        (
            r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?: requires --multirun|\n|$)",
            lambda found, *_: f"{found[1]}: several values; add --multirun to run each of them",
        ),
        (
            r"Interpolation key '([^']+)' not found",
            lambda found, *_: f"${{{found[1]}}}: there is no such key whose value could stand here; give the value",
        ),
        (
            r"Error parsing override|missing EQUAL at|mismatched input|no viable alternative|token recognition|Lexer",
            _unreadable,
        ),
    )
    for pattern, sentence in sentences:
        found = re.search(pattern, text)
        if found:
            return sentence(found, text, arguments)
    said = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return said or f"{' '.join(arguments)}: cannot be composed ({type(error).__name__})"


def of_launcher(error: BaseException) -> str | None:
    """What is wrong where SLURM, Ray or joblib cannot start the jobs of a sweep or lose one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    if isinstance(error, RuntimeError) and lines and 'Could not detect "srun"' in lines[0]:
        return "SLURM's commands are not found here; launch the sweep on a machine of the cluster where sbatch works"
    if kind == "FailedJobError" and lines and lines[0].startswith("sbatch:"):
        return f"SLURM does not take the jobs: {'; '.join(lines)}"
    if isinstance(error, ConnectionError) and "Ray" in str(error):
        return (
            "hydra.launcher.ray.init.address: no Ray there that lets us in; start one with: ray start --head, "
            "and give its token in RAY_AUTH_TOKEN where it asks for one"
        )
    if kind in _LOST:
        return f"a process was killed, perhaps for lack of memory: {lines[0] if lines else kind}"
    return None


def _raised_in(error: BaseException, packages: tuple[str, ...]) -> bool:
    """Was it a library that gave up, over what the user typed, and not a line of ours?"""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).split(".")[0] in packages


def _not_installed(group: str, choice: str, arguments: Sequence[str]) -> str:
    """The plugin of this choice is missing; what the user typed may have been a preset made of it."""
    typed = [argument for argument in arguments if argument.startswith(f"{group}=")]
    return (
        f"{typed[-1] if typed else f'{group}={choice}'}: its plugin is not installed; "
        f"type: pip install 'kd_experiments[{EXTRAS[f'{group}/{choice}']}]'"
    )


def _no_choice(found: re.Match[str], text: str, arguments: Sequence[str]) -> str:
    group, given = found.groups()
    if f"{group}/{given}" in EXTRAS:
        return _not_installed(group, given, arguments)
    first, _, folder = group.partition("/")  # experiment=cifar100/vgg13_vgg8
    known = choices.choices()
    for key in (first, f"+{first}"):
        if key in known:
            return str(no_such_choice(key, f"{folder}/{given}" if folder else given, known[key]))
    return str(no_such_choice(group, given, re.findall(r"^\t(\S+)$", text, re.MULTILINE)))


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

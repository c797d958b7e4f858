"""What a composed configuration may make Hydra do: configuration files may come from strangers.

Hydra calls whatever a `_target_` names as soon as it has composed, and Python's logging what its own configuration
names. So every composition, of a run, of a sweep and of each of its jobs, is looked through before anybody acts on it;
a YAML file is looked at before it is built. A launcher's worker is guarded too: it imports the module of our callback,
which calls `install`, before it composes its job.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from hydra.plugins.config_source import ConfigResult
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_experiments import private
from kd_experiments.errors import UserError

_Loader, _Repository = private.loading_classes()
_SAMPLERS = ("TPESampler", "RandomSampler", "CmaEsSampler", "NSGAIISampler", "MOTPESampler", "GridSampler")
TARGETS = frozenset(
    {
        "kd_experiments.sweeping.callback.SweepReport",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
        "hydra_plugins.hydra_ray_launcher.ray_aws_launcher.RayAWSLauncher",
        "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
        *(f"optuna.samplers.{name}" for name in _SAMPLERS),
    }
)
_LOGGING = {"class": {"logging.StreamHandler", "logging.NullHandler"}, "()": {"colorlog.ColoredFormatter"}}
_STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
_DEPTH = 50  # of nested values; ours have 6
_NODES = 100_000  # of a configuration, and of a YAML file with its aliases written out; ours have 400
_BYTES = 1 << 20  # of a YAML file


def install() -> None:
    """Guard every composition of this process from now on."""
    if _Loader.load_configuration is _load_configuration:
        return
    _Loader.load_configuration = _load_configuration
    _Repository.load_config = _load_config


_compose = _Loader.load_configuration
_read = _Repository.load_config


def _load_configuration(
    self: Any, config_name: str | None, overrides: list[str], *rest: Any, **options: Any
) -> DictConfig:
    if config_name is not None:
        primary = self.repository.load_config(config_name)
        if primary is not None and isinstance(primary.config, DictConfig):
            _refuse_packages(OmegaConf.select(primary.config, "hydra.searchpath"))
    _refuse_packages([override for override in overrides if override.lstrip("+").startswith("hydra.searchpath")])
    composed: DictConfig = _compose(self, config_name, overrides, *rest, **options)
    refuse_calls(composed)
    return composed


def _load_config(self: Any, config_path: str) -> ConfigResult | None:
    source = private.source_of_file(self, config_path)
    if source is None or source.scheme() != "file":
        return _read(self, config_path)
    path = os.path.join(source.path, config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml")
    refuse_yaml(path)
    try:
        found: ConfigResult | None = _read(self, config_path)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: {yaml_reason(error)}") from error
    if found is not None and not isinstance(found.config, DictConfig):
        raise UserError(f"{path}: holds no keys with values; write KEY: VALUE")
    return found


def _refuse_packages(searchpath: Any) -> None:
    """To look for files in a Python package, Hydra imports it."""
    for place in searchpath or ():
        if "pkg://" in str(place) or "structured://" in str(place):
            raise UserError(f"hydra.searchpath: {place}: only folders are searched; give hydra.searchpath=[FOLDER]")


def refuse_yaml(path: str) -> None:
    """Raise `UserError` for a file that is no plain YAML, or that a few aliases blow up beyond all memory."""
    if os.path.getsize(path) > _BYTES:
        raise UserError(f"{path}: over {_BYTES >> 20} MiB; a configuration file is a page of YAML")
    try:
        with open(path, encoding="utf-8") as file:
            _count(yaml.parse(file, Loader=yaml.SafeLoader), path)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: {yaml_reason(error)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def yaml_reason(error: Exception) -> str:
    """What is wrong with a YAML text, in one line."""
    if isinstance(error, RecursionError):
        return "its values are nested too deeply; write it flatter"
    said = getattr(error, "problem", None) or " ".join(str(error).split())
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark is not None else ""
    return f"no plain YAML{where} ({said}); correct the file"


def _count(events: Iterator[yaml.Event], path: str) -> None:
    """Refuse too many nodes, each alias counted as all it stands for, and too deep ones."""
    total, sizes = 0, dict[str, int]()
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and how many nodes there were before
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise UserError(f"{path}: *{event.anchor} holds itself; write its values out")
            total += sizes.get(event.anchor or "", 0)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > _NODES or len(open_nodes) > _DEPTH:
            raise UserError(f"{path}: too many values, or too deeply nested, for a configuration; write it smaller")


def refuse_calls(composed: DictConfig) -> None:
    """Raise `UserError` where a composed configuration names code that is not ours or a known launcher's."""
    typed = [override.lstrip("+").partition("=")[0] for override in composed.hydra.overrides.task]
    if composed.get("imports") and "imports" not in typed:
        raise UserError("imports: refused, a configuration file may not name code; type imports=[...] yourself")
    for where, key, value in _leaves(composed):
        if key == "_target_" and value not in TARGETS:
            raise UserError(
                f"{where}={_shown(value)}: refused, a configuration may not call it; only the known launchers and "
                f"sweepers may be named here (hydra/launcher=..., hydra/sweeper=...)"
            )
        in_logging = where.startswith(("hydra.job_logging", "hydra.hydra_logging"))
        if in_logging and key in _LOGGING and value not in _LOGGING[key]:
            raise UserError(f"{where}={_shown(value)}: refused, a run's log goes to its own run.log; leave it out")
        if in_logging and isinstance(value, str) and "://" in value and value not in _STREAMS:
            raise UserError(
                f"{where}={_shown(value)}: refused, only ext://sys.stdout and ext://sys.stderr may be named"
            )
        if where.startswith("hydra.verbose.") and not isinstance(value, str):
            raise UserError(f"{where}={_shown(value)}: expected the name of a logger, such as hydra.verbose=[hydra]")
        if where == "hydra.sweeper.custom_search_space" and value is not None:
            raise UserError(f"{where}={_shown(value)}: refused, it would be called; give the intervals themselves")


def _leaves(composed: DictConfig) -> Iterator[tuple[str, str, Any]]:
    """(dotted name, last key, value) of everything that is no container, what interpolations give included."""
    waiting: list[tuple[str, str, Any, int]] = [("", "", composed, 0)]
    nodes = 0
    while waiting:
        where, key, value, depth = waiting.pop()
        nodes += 1
        if nodes > _NODES or depth > _DEPTH:
            raise UserError(
                f"{where[:80]}: too many values, or too deeply nested, for a configuration; write it smaller"
            )
        if isinstance(value, dict):
            yield from ((f"{where}.{name}", name, text) for name, text in value.items())
            continue
        if not isinstance(value, DictConfig | ListConfig):
            yield where, key, value
            continue
        if private.has_no_value(value):
            continue
        names: Iterable[Any] = value.keys() if isinstance(value, DictConfig) else range(len(value))
        for name in names:
            full = f"{where}.{name}" if where else str(name)
            waiting.append((full, str(name), _value(value, name), depth + 1))


def _value(container: Container, name: Any) -> Any:
    """A value with its interpolation resolved. One that cannot be resolved yet stays text where it could become a call,
    and is None elsewhere.
    """
    try:
        return None if OmegaConf.is_missing(container, name) else container[name]
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raw = str(private.raw_node(container, name))
        makes_containers = "oc.create" in raw or "oc.decode" in raw
        return {"_target_": raw} if makes_containers else raw if name in ("_target_", *_LOGGING) else None


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."

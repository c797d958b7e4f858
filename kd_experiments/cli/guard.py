"""What a composed configuration may make Hydra do: configuration files may come from strangers.

Hydra calls whatever a `_target_` names as soon as it has composed, and Python's logging what its own configuration
names. So every composition, of a run, of a sweep and of each of its jobs, is looked through before anybody acts on it;
a YAML file is looked at before it is built. Below `hydra` stand commands for a cluster, variables of the environment
and folders to write to, too: there a file may set nothing but what a sweep tries, while what is typed is the user's
word. A launcher's worker is guarded too: it imports the module of our callback, which calls `install`, before it
composes its job.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_experiments import own_code, private
from kd_experiments.cli.expanding import laid_over, refuse_many
from kd_experiments.cli.resolvers import OWN
from kd_experiments.errors import UserError, shortened
from kd_experiments.places import home

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
_TRIED = {"params", "search_space", "sampler", "direction", "n_trials", "n_jobs", "max_failure_rate"}  # by a sweeper
_ACTED_ON = tuple(f"hydra.{key}." for key in ("job_logging", "hydra_logging", "callbacks", "launcher", "sweeper"))
_DEPTH = 50  # of nested values; ours have 6
_NODES = 100_000  # of a configuration, and of a YAML file with its aliases written out; ours have 400
_BYTES = 1 << 20  # of a YAML file


def install() -> None:
    """Guard every composition of this process from now on."""
    if _Loader.load_configuration is _load_configuration:
        return
    _Loader.load_configuration = _load_configuration
    _Loader._load_single_config = _load_single_config
    _Repository.load_config = _load_config


_compose = _Loader.load_configuration
_load_one = _Loader._load_single_config
_read = _Repository.load_config
_known: dict[tuple[str, str, str, bytes], ConfigResult] = {}  # what was read, by where it stands and what it says


def _load_configuration(
    self: Any, config_name: str | None, overrides: list[str], run_mode: RunMode, *rest: Any, **options: Any
) -> DictConfig:
    asks_for_mode = not options.get("validate_sweep_overrides", True)  # before it composes: is it a run or a sweep?
    if asks_for_mode and _only_flags_say_the_mode(overrides):
        return OmegaConf.create({"hydra": {"mode": None}})
    if config_name is not None:
        primary = self.repository.load_config(config_name)
        if primary is not None and isinstance(primary.config, DictConfig):
            _refuse_packages(OmegaConf.select(primary.config, "hydra.searchpath"))
    _refuse_packages([override for override in overrides if override.lstrip("+").startswith("hydra.searchpath")])
    composed: DictConfig = _compose(self, config_name, overrides, run_mode, *rest, **options)
    if asks_for_mode:
        return composed  # Hydra takes every error for no mode, and then composes again
    refuse_calls(composed)
    if run_mode == RunMode.MULTIRUN and composed.hydra.sweeper._target_.endswith(".BasicSweeper"):
        refuse_many(laid_over(params_of(composed), composed.hydra.overrides.task))
    return composed


def _only_flags_say_the_mode(overrides: list[str]) -> bool:
    """Is nothing of Hydra's typed, and no code of the user's own there to bring it? That spares half of all composing:
    files of strangers may not say the mode, and ours do not.
    """
    return not any(override.lstrip("+~").startswith("hydra") for override in overrides) and not own_code.load()


def params_of(composed: DictConfig) -> list[str]:
    """What the files of a sweep try, as overrides."""
    return [f"{key}={value}" for key, value in (composed.hydra.sweeper.get("params") or {}).items()]


def _load_single_config(self: Any, default: Any, repo: Any) -> ConfigResult:
    """Refuse what a file sets below `hydra`, wherever it says that its keys belong, or brings there from elsewhere."""
    found: ConfigResult = _load_one(self, default, repo)
    node = private.raw_node(found.config, "hydra")
    places = () if node is None else (default.config_path, default.parent)
    for place in places:
        if place not in (None, "<root>") and not _is_about_hydra(repo.load_config(place), place):
            given = OmegaConf.to_container(node, resolve=False) if isinstance(node, Container) else node
            for key in _beyond_sweeps(given):
                raise UserError(
                    f"{place}.yaml: {shortened(key)}: refused, of Hydra a file may set what a sweep tries "
                    f"(hydra.sweeper.params) and nothing else; type it yourself, or keep it in conf/hydra/ of your own "
                    f"package, imports=[...]"
                )
    return found


def _is_about_hydra(found: ConfigResult, config_path: str) -> bool:
    """Is it Hydra's or a launcher's own, or `config.yaml` or below `hydra/` in our folder or in the user's package?"""
    scheme, _, folder = found.path.partition("://")
    ours = found.provider == OWN or os.path.realpath(folder) == os.path.realpath(home() / "conf")
    path = os.path.normpath(config_path)
    return scheme != "file" or (ours and (path == "config" or path.startswith("hydra/")))


def _beyond_sweeps(given: Any) -> list[str]:
    """The keys below `hydra` that say more than what a sweep tries."""
    if not isinstance(given, dict):
        return ["hydra"]
    sweeper = given.get("sweeper", {})
    beyond = [f"sweeper.{key}" for key in sweeper if key not in _TRIED] if isinstance(sweeper, dict) else ["sweeper"]
    return [f"hydra.{key}" for key in (*(key for key in given if key != "sweeper"), *beyond)]


def _load_config(self: Any, config_path: str) -> ConfigResult | None:
    source = private.source_of_file(self, config_path)
    if source is None or source.scheme() != "file":
        return _read(self, config_path)
    path = os.path.join(source.path, config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml")
    place = (source.provider, source.path, config_path, _bytes_of(path))
    if place not in _known:
        refuse_yaml(path)
        try:
            found: ConfigResult = _read(self, config_path)
        except (yaml.YAMLError, RecursionError) as error:
            raise UserError(f"{path}: {yaml_reason(error)}") from error
        if not isinstance(found.config, DictConfig):
            raise UserError(f"{path}: holds no keys with values; write KEY: VALUE")
        _known[place] = found
    return copy.deepcopy(_known[place])  # Hydra changes what it was given


def _refuse_packages(searchpath: Any) -> None:
    """To look for files in a Python package, Hydra imports it."""
    for place in searchpath or ():
        if "pkg://" in str(place) or "structured://" in str(place):
            raise UserError(f"hydra.searchpath: {place}: only folders are searched; give hydra.searchpath=[FOLDER]")


def refuse_yaml(path: str) -> None:
    """Raise `UserError` for a file that is no plain YAML, or that a few aliases blow up beyond all memory."""
    try:
        _count(yaml.parse(_bytes_of(path).decode(), Loader=yaml.SafeLoader), path)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: {yaml_reason(error)}") from error


def _bytes_of(path: str) -> bytes:
    try:
        if os.path.getsize(path) > _BYTES:
            raise UserError(f"{path}: over {_BYTES >> 20} MiB; a configuration file is a page of YAML")
        return Path(path).read_bytes()
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
    overrides = (*composed.hydra.overrides.task, *composed.hydra.overrides.hydra)
    typed = [override.lstrip("+").partition("=")[0] for override in overrides]
    launcher = composed.hydra.runtime.choices.get("hydra/launcher", "basic")
    for key, chosen in (("imports", composed.get("imports")), ("hydra/launcher", launcher != "basic")):
        if chosen and key not in typed:
            raise UserError(f"{key}: refused, a configuration file may not choose it; type {key}=... yourself")
    with _of_no_other_job():
        for where, key, value in _leaves(composed):
            reason = _refused(where, key, value)
            if reason is not None:
                raise UserError(f"{where}={shortened(value, 100)}: {reason}")
    for name in ("params", "search_space"):  # of which sweepers make overrides, as if somebody had typed them
        tried = OmegaConf.select(composed, f"hydra.sweeper.{name}")
        keys: list[Any] = list(tried) if isinstance(tried, DictConfig) else []
        for override in private.parsed([f"{key}=0" for key in keys]):
            if re.match(r"(imports|hydra)\b", key := override.key_or_group):
                raise UserError(f"hydra.sweeper.{name}: {key}: refused, no sweep tries it; type it yourself")


@contextlib.contextmanager
def _of_no_other_job() -> Iterator[None]:
    """`${hydra:...}` has no value here, rather than that of the sweep or the job that this process composed before."""
    shared = HydraConfig.instance()
    before, shared.cfg = shared.cfg, None
    try:
        yield
    finally:
        shared.cfg = before


def _refused(where: str, key: str, value: Any) -> str | None:
    """Why a value may not stand there."""
    in_logging = where.startswith(_ACTED_ON[:2])
    if key == "_target_" and value not in TARGETS:
        return (
            "refused, a configuration may not call it; only the known launchers and sweepers may be named here "
            "(hydra/launcher=..., hydra/sweeper=...)"
        )
    if in_logging and key in _LOGGING and value not in _LOGGING[key]:
        return "refused, a run's log goes to its own run.log; leave it out"
    if in_logging and isinstance(value, str) and "://" in value and value not in _STREAMS:
        return "refused, only ext://sys.stdout and ext://sys.stderr may be named"
    if where.startswith("hydra.verbose.") and not isinstance(value, str):
        return "expected the name of a logger, such as hydra.verbose=[hydra]"
    if where == "hydra.sweeper.custom_search_space" and value is not None:
        return "refused, it would be called; give the intervals themselves"
    return None


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
        if not isinstance(value, DictConfig | ListConfig):
            yield where, key, value
            continue
        if private.has_no_value(value):
            continue
        names: Iterable[Any] = value.keys() if isinstance(value, DictConfig) else range(len(value))
        for name in names:
            full = f"{where}.{name}" if where else str(name)
            waiting.append((full, str(name), _value(value, name, full), depth + 1))


def _value(container: Container, name: Any, where: str) -> Any:
    """A value with its interpolation resolved, or None where that cannot be done yet.

    Hydra acts on some: there, one that cannot be resolved is refused, and so are the plain lists and dictionaries that
    `oc.decode` makes, whose texts Hydra takes for interpolations once more.
    """
    acted_on = f"{where}.".startswith(_ACTED_ON)
    try:
        value = None if OmegaConf.is_missing(container, name) else container[name]
        if not (acted_on and isinstance(value, dict | list)):
            return value
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        if not acted_on:
            return str(private.raw_node(container, name)) if name == "_target_" else None
    raw = shortened(private.raw_node(container, name), 100)
    raise UserError(f"{where}={raw}: refused, nobody can tell yet what that is; give the value itself")

"""The user's own code: modules that add methods, parts, data sets and networks, and folders of choices and sweeps.

Named by `imports=[my_kd]` on any command line, by the variable `KD_EXPERIMENTS_IMPORTS=my_kd:other`, or by an installed
package with an entry point in the group `kd_experiments`. A name is a package or module, or a path to one. Beside its
Python files, which are all imported, a package may hold `conf/` (one folder a group, as in this suite) and `sweeps/`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from kd_experiments.errors import UserError

KEY = "imports"
VARIABLE = "KD_EXPERIMENTS_IMPORTS"  # what processes started by this one inherit
GROUP = "kd_experiments"

_loaded: dict[str, ModuleType] = {}


def use(names: Iterable[str], base: Path | None = None) -> None:
    """Make the user's code known to this process and to those it starts.

    Relative paths, and modules that are not installed, are looked for in `base` (default: the current folder).
    """
    base = Path.cwd() if base is None else base
    wanted = [str(_located(name, base)) for name in names]
    known = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*known, *wanted]))


def taken_from(arguments: Sequence[str]) -> list[str]:
    """The arguments without `imports=...`, which is done: every command understands it."""
    for argument in arguments:
        if argument.partition("=")[0].lstrip("+") == KEY:
            use(listed(argument.partition("=")[2]))
    return [argument for argument in arguments if argument.partition("=")[0].lstrip("+") != KEY]


def load() -> list[ModuleType]:
    """Import everything that was named, once; `UserError` for what is not there or does not import."""
    named = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    named += _installed(tuple(sys.path))
    for name in named:
        if name not in _loaded:
            _loaded[name] = _import(name)
    return [_loaded[name] for name in dict.fromkeys(named)]


@cache
def _installed(path: tuple[str, ...]) -> list[str]:
    """The modules that installed packages name; to look takes a while, and is done once for every `sys.path`."""
    return [point.value for point in entry_points(group=GROUP)]


def packages() -> list[Path]:
    """Where the user's modules lie: the folders of packages, the files of single modules."""
    found = [Path(place) for module in load() for place in getattr(module, "__path__", [str(module.__file__)])]
    return list(dict.fromkeys(found))


def folders(kind: str) -> list[Path]:
    """The folders `conf` or `sweeps` of the user's packages, those named first."""
    places = [Path(place) / kind for module in load() for place in getattr(module, "__path__", ())]
    return [place for place in places if place.is_dir()]


def listed(value: str | Sequence[str]) -> list[str]:
    """Names from what was typed, `[my_kd,../other]` or one name alone, or from the list it was read as."""
    if not isinstance(value, str):
        return [str(name) for name in value]
    return [name.strip().strip("'\"") for name in value.strip().strip("[]").split(",") if name.strip()]


def _located(name: str, base: Path) -> Path | str:
    """The absolute path of a package or module file, or the name of an installed one."""
    path = Path(name).expanduser()
    dotted = base.joinpath(*name.split("."))
    for place in (base / path, (base / path).with_suffix(".py"), dotted, dotted.with_suffix(".py")):
        if place.is_dir() or (place.is_file() and place.suffix == ".py"):
            return place.resolve()
    if os.sep not in name and _is_installed(name):
        return name
    raise UserError(
        f"{KEY}=[{name}]: no such package or module (looked in {base} and among the installed ones); give the name or "
        f"the path of a folder with Python files"
    )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _import(name: str) -> ModuleType:
    """The module, and all modules of a package: those register what they define."""
    path = Path(name)
    if path.is_absolute():
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        name = path.stem if path.suffix == ".py" else path.name
    module = _one(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        _one(found.name)
    return module


def _one(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = str(error).splitlines()[0] if str(error) else ""
        raise UserError(
            f"{KEY}: {name} cannot be imported: {type(error).__name__}: {reason} ({last.filename}, line {last.lineno})"
        ) from error

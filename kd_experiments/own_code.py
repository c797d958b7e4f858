"""The user's own code: modules that add methods, parts, data sets and networks, and folders of choices and sweeps.

Named by `imports=[my_kd]` on any command line, by the variable `KD_EXPERIMENTS_IMPORTS=my_kd:other`, or by an installed
package with an entry point in the group `kd_experiments`. A name is a package or module, or a path to one. Beside its
Python files, which are all imported, a package may hold `conf/` (one folder a group, as in this suite) and `sweeps/`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
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
_states: dict[Path, tuple[int, int] | None] = {}  # of every imported file when it was imported: size, time of change


def use(names: Iterable[str], base: Path | None = None) -> None:
    """Make the user's code known to this process and to those it starts.

    Relative paths, and modules that are not installed, are looked for in `base` (default: the current folder).
    """
    base = Path.cwd() if base is None else base
    wanted = [str(_located(name, base)) for name in names]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*_named(), *wanted]))


def _named() -> list[str]:
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def taken_from(arguments: Sequence[str]) -> list[str]:
    """The arguments without `imports=...`, which is done: every command understands it."""
    for argument in arguments:
        if argument.partition("=")[0].lstrip("+") == KEY:
            use(listed(argument.partition("=")[2]))
    return [argument for argument in arguments if argument.partition("=")[0].lstrip("+") != KEY]


def written_out(arguments: Sequence[str]) -> list[str]:
    """The arguments with `imports=...` holding what the variable names, too: a worker on another machine has none."""
    typed = [argument for argument in arguments if argument.partition("=")[0].lstrip("+") == KEY]
    names = [name for argument in typed for name in listed(argument.partition("=")[2])]
    known = [str(_located(name, Path.cwd())) for name in names]
    more = [name for name in _named() if name not in known]
    if not more:
        return list(arguments)
    quoted = ",".join("'" + name.replace("'", "\\'") + "'" for name in [*names, *more])
    return [*(argument for argument in arguments if argument not in typed), f"{KEY}=[{quoted}]"]


def load() -> list[ModuleType]:
    """Import everything that was named, once; `UserError` for what is not there or does not import."""
    named = _named() + _installed(tuple(sys.path))
    for name in named:
        if name not in _loaded:
            _loaded[name] = _import(name)
    return [_loaded[name] for name in dict.fromkeys(named)]


@cache
def _installed(path: tuple[str, ...]) -> list[str]:
    """The modules that installed packages name; to look takes a while, and is done once for every `sys.path`."""
    return [point.value for point in entry_points(group=GROUP)]


def refuse_changed() -> None:
    """`UserError` for a file that is another one than this process has imported: it would run the old code."""
    for path, state in _states.items():
        if _state(path) != state:
            raise UserError(f"{path}: changed since it was imported; restart Python (in a notebook: its kernel)")


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
    """The module, and all Python files of a package: those register what they define."""
    path = Path(name)
    if path.is_absolute():
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        name = path.stem if path.suffix == ".py" else path.name
    module = _one(name)
    file = getattr(module, "__file__", None)
    places = [Path(place).resolve() for place in getattr(module, "__path__", [file] if file else [])]
    if path.is_absolute() and set(places) != {path}:
        other = next((place for place in places if place != path), "Python's own")
        raise UserError(f"{KEY}: {path}: {name} is the name of another module, too ({other}); rename yours")
    for place in places:
        for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            parts = [name] if source == place else [name, *source.relative_to(place).with_suffix("").parts]
            if not any("." in part for part in parts[1:]):  # of a folder that is no package, such as .venv
                _one(".".join(parts).removesuffix(".__init__"))
                _states.setdefault(source, _state(source))
    return module


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _one(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = str(error).splitlines()[0] if str(error) else ""
        raise UserError(
            f"{KEY}: {name} cannot be imported: {type(error).__name__}: {reason} ({last.filename}, line {last.lineno})"
        ) from error

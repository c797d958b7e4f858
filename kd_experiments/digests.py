"""Names for content: of plain values, of files, of a module's source and of the modules it is made from."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from kd_experiments import own_code
from kd_experiments.places import PACKAGE


def of_values(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON text, 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits; raises `OSError`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def of_source(path: Path) -> str:
    """SHA-256 of a source file, 12 hexadecimal digits; empty where it is gone."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        return ""


def is_own(module: str) -> bool:
    """Is this module the user's, not this package's?"""
    return module.split(".")[0] != PACKAGE.name


def own_source(name: str) -> str:
    """Names the source of an imported module of the user's and of what it takes from modules beside it."""
    return of_values({module.__name__: of_source(Path(str(module.__file__))) for module in closure([name])})


def changed(code: Mapping[str, str]) -> list[str]:
    """Modules of this package whose source is no longer what it was, by the names `code` has them under."""
    return [name for name, digest in code.items() if of_source(_file_of(name)) != digest]


def of_modules(names: Iterable[str]) -> dict[str, str]:
    """Modules of this package and all that they take from it -> digest of their source, without the package's name."""
    found = [module.__name__.removeprefix(f"{PACKAGE.name}.") for module in closure(names)]
    return {name: of_source(_file_of(name)) for name in found}


def _file_of(name: str) -> Path:
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def closure(names: Iterable[str]) -> list[ModuleType]:
    """The modules of these names and all that they take from the same top-level packages, sorted by name.

    Modules that were imported only to register themselves are not followed: a package's `__init__` is. Of the user's
    own code every import counts, since nothing tells where a number came from, and so do files beside it.
    """
    tops = {module.__name__.split(".")[0] for module in own_code.load()}
    folders = {place.parent for place in own_code.packages() if place.suffix == ".py"}

    def is_users(module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and (module.__name__.split(".")[0] in tops or Path(file).parent in folders)

    waiting = [sys.modules[name] for name in names if name in sys.modules]
    found: dict[str, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in found or getattr(module, "__file__", None) is None:
            continue
        found[module.__name__] = module
        top = module.__name__.split(".")[0]
        for value in list(vars(module).values()):
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            is_part = isinstance(name, str) and name.split(".")[0] == top and name in sys.modules
            # A package's submodules are its attributes, whether it uses them or not.
            is_child = isinstance(value, ModuleType) and name is not None and name.startswith(f"{module.__name__}.")
            if is_part and not is_child:
                waiting.append(sys.modules[str(name)])
        if is_users(module):
            waiting += filter(is_users, _imported(module))
    return [found[name] for name in sorted(found)]


def _imported(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that the import statements of a module name, wherever they stand in it."""
    for level, base, name in _import_statements(Path(str(module.__file__))):
        with contextlib.suppress(ImportError):  # a relative import that leads out of its package
            whole = importlib.util.resolve_name("." * level + base, module.__package__)
            found = sys.modules.get(f"{whole}.{name}") or sys.modules.get(whole)
            if found is not None:
                yield found


@cache
def _import_statements(path: Path) -> list[tuple[int, str, str]]:
    """Dots, module, and what is taken of it, which is empty for `import module`."""
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module or "", alias.name) for alias in node.names]
    return found

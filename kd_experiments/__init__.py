"""Knowledge-distillation experiments one can believe.

In a notebook: `import kd_experiments as kd`, then `kd.run`, `kd.runs`, `kd.samples` and `kd.load_student`; see
`kd_experiments.experiment`. They are imported when they are first asked for: the command line does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NOTEBOOK = ("UserError", "load_student", "run", "runs", "samples")


def __getattr__(name: str) -> Any:
    if name in _NOTEBOOK:
        return getattr(import_module("kd_experiments.experiment"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NOTEBOOK})

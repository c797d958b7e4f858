"""Knowledge-distillation experiments one can believe.

In a notebook: `import kd_experiments as kd`, then `kd.run`, `kd.runs`, `kd.samples` and `kd.load_student`; see
`kd_experiments.experiment`. They are imported when they are first asked for: the command line does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd_experiments.errors import UserError as UserError
    from kd_experiments.experiment import load_student as load_student
    from kd_experiments.experiment import run as run
    from kd_experiments.experiment import runs as runs
    from kd_experiments.experiment import samples as samples

__version__ = "0.1.0"

_NOTEBOOK = ("UserError", "load_student", "run", "runs", "samples")


def __getattr__(name: str) -> Any:
    if name in _NOTEBOOK:
        return getattr(import_module("kd_experiments.experiment"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NOTEBOOK})

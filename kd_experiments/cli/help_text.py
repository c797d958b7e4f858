"""`python -m kd_experiments --help`: everything one can type, without importing torch."""

from __future__ import annotations

import shutil
import textwrap

from kd_experiments.cli.choices import Method, choices, methods

_EXAMPLES = """\
  python -m kd_experiments method=lrds selection.ratio=0.8
  python -m kd_experiments method=kd dataset=fashion_mnist teacher=resnet32 student=resnet8 seed=3
  python -m kd_experiments method=kd revision=label_revision selection=influence temperature=dtd_flsw
  python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2
  python -m kd_experiments method=cmd_p label_noise=symmetric label_noise.rate=0.4 peer=wrn_16_1"""

_MORE = """\
  --cfg job          print the composed configuration and stop
  --multirun, -m     run every combination of values given with commas
  --completion       print a script that completes groups and choices: eval "$(kd-experiments --completion)"
  +sweeps=NAME       with --multirun: a table or figure of a paper
  imports=[my_kd]    your own methods, networks, data sets and sweeps, from a folder or an installed package
  precision=bfloat16 networks compute in bfloat16 (always on CUDA; on a recent CPU up to twice as fast)
  samples=true       write what became of every training image: samples.csv
  rerun=true         repeat a run that is already complete
  paths.results=DIR  where everything is written (default: results)"""


def help_text() -> str:
    """The whole page."""
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    parts = [
        "Knowledge-distillation experiments one can believe.",
        "",
        "usage: python -m kd_experiments [--multirun] [GROUP=CHOICE ...] [KEY=VALUE ...]",
        "",
        "Examples",
        _EXAMPLES,
        "",
        "Groups and their choices",
        *(_group(name, names, width) for name, names in choices().items()),
        "",
        "More",
        _MORE,
        "",
        "Methods: name, year, what it does, paper, evidence ([paper] its own words, [code] read off a public",
        "implementation, [ours] reconstructed here)",
        *(_method(method, width) for method in methods()),
    ]
    return "\n".join(parts)


def _group(name: str, names: list[str], width: int) -> str:
    return textwrap.fill(
        " ".join(names) or "(none yet)",
        width,
        initial_indent=f"  {name:<13}",
        subsequent_indent=" " * 15,
        break_on_hyphens=False,
    )


def _method(method: Method, width: int) -> str:
    section = f" ({method.section})" if method.section else ""
    text = f"{method.year:<5} {method.about} {method.paper}{section}. {method.evidence}."
    return textwrap.fill(
        text, width, initial_indent=f"  {method.name:<20}", subsequent_indent=" " * 28, break_on_hyphens=False
    )

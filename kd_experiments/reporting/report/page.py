"""The page as one text: templates filled, style and script inside, and nothing to be fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kd_experiments.reporting.formats import Symbols, written
from kd_experiments.reporting.report.forest import compared, forest

ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("unpack", "elements", "numbers", "chart", "tables", "figures", "runs", "run", "compare", "routes")
_PLAIN = Symbols("±", "−", ("", ""), "–", " *", str)  # the template marks what is bold


def render(content: Mapping[str, Any], data: Sequence[tuple[str, str]]) -> str:
    """`page.html` filled with `content`; `data` are (id, packed text) pairs for the script.

    The page's policy lets only this style and this script act: whatever a record holds is never run.
    """
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    parts = "\n".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}}})();'
    template = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    return template.render(
        **content,
        data=data,
        plain=lambda cell: written(cell, _PLAIN),
        compared=compared,
        forest=forest,
        style=style,
        script=script,
        policy="default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}",
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

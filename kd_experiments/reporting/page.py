"""The page: one file with tables, figures and runs that a browser opens without a network."""

from __future__ import annotations

import base64
import contextlib
import csv
import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from kd_experiments import files
from kd_experiments.reporting.figures import Drawing
from kd_experiments.reporting.settings import diverged
from kd_experiments.reporting.study import Study
from kd_experiments.reporting.table import html
from kd_experiments.tracking.words import counted

ASSETS = Path(__file__).parent / "assets"
CHUNK = 200  # runs whose curves and logs are packed together
EPOCHS = 250_000  # rows of histories in a page, of all runs together, but at least 16 and at most 400 of each
LOG = 8_000_000  # characters of logs likewise, at least 400 and at most 20,000 of each
CURVES = ("loss", "lr", "val_top1", "test_top1", "test_nll", "clean_fit", "wrong_fit", "correction")


def page(study: Study, figures: Path, results: Path | None) -> str:
    """HTML; figures are the SVG files in a folder, curves and logs come from `results/runs` where there is one."""
    frame = study.frame
    drawings = [_picture(one, (figures / f"{one.name}.svg").read_bytes()) for one in study.drawings]
    columns = {name: list(map(_plain, frame[name].tolist())) for name in frame.columns}
    template = Environment(autoescape=True, trim_blocks=True).from_string((ASSETS / "page.html").read_text())
    return template.render(
        title="Knowledge distillation: runs",
        subtitle=f"{counted(len(frame), 'run')}, {sum(map(diverged, study.runs)):,} of them diverged or unfinished; "
        f"{counted(len(study.tables), 'table')}.",
        study=study,
        remarks=frame.attrs.get("left_out", []),
        figures=drawings,
        runs=_packed({"count": len(frame), "size": CHUNK, "columns": columns}),
        chunks=[_packed(chunk) for chunk in _details(frame, results)],
        css=(ASSETS / "page.css").read_text(),
        html=html,
        js=(ASSETS / "page.js").read_text(),
    )


def _picture(one: Drawing, svg: bytes) -> Mapping[str, Any]:
    """`rem` is its width on the page: that on paper, enlarged."""
    width = re.search(rb'width="([\d.]+)pt"', svg)
    rem = round(float(width.group(1)) / 8.7) if width else 56
    return {"svg": _base64(svg), "words": one.words, "caption": one.caption, "rem": rem}


def _plain(value: Any) -> Any:
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value


def _details(frame: pd.DataFrame, results: Path | None) -> Iterator[dict[str, Any]]:
    """Curves and logs of `CHUNK` runs each, in the order of the frame; none where they do not lie here."""
    if results is None:
        return
    epochs = min(max(16, EPOCHS // max(1, len(frame))), 400)
    length = min(max(400, LOG // max(1, len(frame))), 20_000)
    signatures = frame["signature"].tolist()
    for start in range(0, len(signatures), CHUNK):
        folders = {signature: results / "runs" / signature for signature in signatures[start : start + CHUNK]
                   if re.fullmatch("[0-9a-f]{16}", str(signature))}  # fmt: skip
        yield {name: {"curves": _curves(folder / "history.csv", epochs), "log": _tail(folder / "run.log", length)}
               for name, folder in folders.items()}  # fmt: skip


def _curves(path: Path, most: int) -> dict[str, list[float | None]]:
    """By name of the figure, at no more than that many epochs, evenly, the last among them."""
    rows: list[dict[str, str]] = []
    with contextlib.suppress(csv.Error):
        rows = list(csv.DictReader((files.read_table(path) or "").splitlines()))
    step = max(1, -(-len(rows) // most))
    kept = [row for place, row in enumerate(rows) if (len(rows) - 1 - place) % step == 0]
    return {name: [_number(row.get(name)) for row in kept] for name in ("epoch", *CURVES) if rows and name in rows[0]}


def _number(text: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        value = float(text or "nan")
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return None


def _tail(path: Path, length: int) -> str:
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= length else f"...\n{text[-length:].split(chr(10), 1)[-1]}"


def _packed(content: Any) -> str:
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return _base64(gzip.compress(data, compresslevel=6, mtime=0))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""One HTML page with everything the records hold: `report.write_report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kd_experiments.reporting.report.details import details
from kd_experiments.reporting.report.entries import read_entries
from kd_experiments.reporting.report.index import index
from kd_experiments.reporting.report.limits import limits
from kd_experiments.reporting.report.overview import overview
from kd_experiments.reporting.report.packing import packed
from kd_experiments.reporting.report.page import render
from kd_experiments.reporting.report.pictures import pictures
from kd_experiments.reporting.tables import all_tables

CHUNK = 200  # runs whose details are opened together


@dataclass(frozen=True)
class Report:
    """What was written."""

    path: Path
    runs: int
    tables: int
    figures: int


def write_report(results: Path) -> Report:
    """Write `results/report/index.html`; the same records, tables and figures give the same bytes."""
    entries = read_entries(results)
    tables = all_tables(results)
    images = pictures(results / "figures")
    limit = limits(len(entries))
    data = [("data-index", packed(index(entries, CHUNK)))] if entries else []
    for start in range(0, len(entries), CHUNK):
        part = [details(entry, limit) for entry in entries[start : start + CHUNK]]
        data.append((f"data-details-{start // CHUNK}", packed(part)))
    drawings = {image.name: image.drawing for image in images if image.drawing}
    if drawings:
        data.append(("data-figures", packed(drawings)))
    page = render({"overview": overview(entries, tables), "tables": tables, "pictures": images}, data)
    path = results / "report" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return Report(path, len(entries), len(tables), len(images))

"""Everything a study gives, as files: tables, figures and page of one frame, whose digest they carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from kd_experiments import files
from kd_experiments.escaping import markdown as markdown_words
from kd_experiments.places import home
from kd_experiments.reporting.figures import FORMATS, save
from kd_experiments.reporting.page import ASSETS, page
from kd_experiments.reporting.published import footing
from kd_experiments.reporting.study import Study
from kd_experiments.reporting.table import Table, comma_separated, latex, markdown

ROWS = 10  # of the table that a README opens with
MANIFEST = "report/files.txt"
ON_DEMAND = ("paper/", "cost/")
FINDINGS = "findings.md"  # the one file of results that is written by hand: a title, and what was found below it
LAYOUT = ASSETS / "layout.md"  # what lies where, for the README
BEGIN, END = "<!-- results: made by make tables -->", "<!-- /results -->"  # in the README of the checkout


def own_folder(local: Path | None, csv: str = "") -> Path:
    """Where what is made of one's own runs goes: never over what this checkout has committed, but for its own table."""
    committed, beside = (home() / "results").resolve(), local or Path(csv).parent
    if local is None and Path(csv).resolve() == committed / "runs.csv":
        return beside
    folder = beside / "results" if beside.resolve() == home() else beside
    return folder / "own" if folder.resolve() == committed else folder


def write(
    study: Study, folder: Path, results: Path | None, what: Sequence[str], tex: str = "", cost: bool = False
) -> list[Path]:
    """Write `what` of tables, figures and page; a file of an earlier call that is not made any more is removed.

    `tex` is `true` for LaTeX of every table, or the name of one; `results` is where curves and logs lie.
    """
    made: dict[str, str] = {}
    if "tables" in what:
        made |= dict(_tables(study))
        for table in study.costs if cost else ():
            made[f"cost/{table.name}.md"] = f"{markdown(table, 1)}\nRuns {study.digest}.\n"
            made[f"cost/{table.name}.csv"] = comma_separated(table, study.digest)
        made["tables/published.md"] = _footing()
        found = folder / FINDINGS
        told = found.read_text(encoding="utf-8", errors="replace").strip() if found.is_file() else ""
        made["README.md"] = readme(study, told)
        made["runs.csv"] = study.csv
        if folder.resolve() == home() / "results":
            front_page = home() / "README.md"
            files.write_text(front_page, embedded(front_page.read_text(encoding="utf-8"), study))
    for table in study.tables:
        if tex in ("true", table.name):
            made[f"paper/{table.name}.tex"] = latex(table, study.digest)
            made[f"paper/{table.name}-full.tex"] = latex(table, study.digest, full=True)
    files.write_texts(folder, made)
    written = [folder / name for name in made]
    if "figures" in what or "page" in what:
        formats = FORMATS if "figures" in what else FORMATS[:1]  # which is what the page shows
        written += [path for one in study.drawings for path in save(one, folder / "figures", study.digest, formats)]
    if "page" in what:
        files.write_text(folder / "report/index.html", page(study, folder / "figures", results))
        written.append(folder / "report/index.html")
    if {"tables", "figures", "page"} <= set(what):
        _forget(folder, {path.relative_to(folder).as_posix() for path in written})
    return written


def readme(study: Study, found: str = "") -> str:
    """One table of at most ten rows, one figure and three sentences; what was `found` and the details folded below."""
    pages = sorted({table.data for table in study.tables})
    contents = [f"- [{markdown_words(name)}](tables/{files.file_name(name)}.md)" for name in pages]
    contents += ["", LAYOUT.read_text(encoding="utf-8")]
    notes = [] if study.opening is None else [f"- {markdown_words(note)}" for note in study.opening.notes]
    title, _, told = found.partition("\n")
    folded = {title.lstrip("# "): [told.strip()] if told else [], "How to read it": notes, "What is here": contents}
    parts = ["\n".join([f"<details><summary>{name}</summary>", "", *lines, "", "</details>"])
             for name, lines in folded.items() if lines]  # fmt: skip
    return "\n\n".join(["# Results", front(study), *parts, f"Runs {study.digest}."]) + "\n"


def _footing() -> str:
    head, *rows = footing()
    lines = [head, ("---", "---", "---:", *["---"] * (len(head) - 3)), *rows]
    table = "\n".join("| " + " | ".join(map(markdown_words, line)) + " |" for line in lines)
    return f"# Published numbers, and on what footing they stand\n\n{table}\n"


def front(study: Study, folder: str = "") -> str:
    """What a reader sees first: the table, what it says in three sentences, and the figure, which lies in `folder`."""
    told = markdown_words(" ".join(study.sentences()))
    if study.opening is None:
        return told
    table = markdown(replace(_shortened(study.opening), notes=[], missing=[]), 3).strip()
    parts = [f"![{markdown_words(one.words)}]({folder}figures/{one.name}.svg)\n\n{markdown_words(one.caption)}"
             for one in study.drawings[:1]]  # fmt: skip
    return "\n\n".join([table, told, *parts])


def embedded(text: str, study: Study) -> str:
    """A README with what the results folder beside it shows first, between the two markers."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{front(study, 'results/')}\n{END}{after}" if end else text


def _shortened(table: Table) -> Table:
    """The paper's columns and at most ten rows: the teacher, the student, the reference, and then the highest."""
    columns = list(dict.fromkeys((0, *table.paper)))
    highest = sorted(table.rows[3:], key=lambda row: row.cells[table.paper[0]].number, reverse=True)
    kept = [*table.rows[:3], *highest[: ROWS - 3]]
    rows = [replace(row, cells=[row.cells[place] for place in columns]) for row in table.rows if row in kept]
    return replace(table, columns=[table.columns[place] for place in columns], rows=rows)


def _tables(study: Study) -> Iterator[tuple[str, str]]:
    """One page a data set, and every table as CSV."""
    ordered = sorted(study.tables, key=lambda table: table.data)
    for data, tables in groupby(ordered, key=lambda table: table.data):
        kept = list(tables)
        contents = [f"- {markdown_words(table.title)}: [CSV]({table.name}.csv)" for table in kept]
        parts = [f"# {markdown_words(data)}\n", "\n".join([*contents, ""]), *map(markdown, kept)]
        parts.append(f"Runs {study.digest}.\n")
        yield f"tables/{files.file_name(data)}.md", "\n".join(parts)
        for table in kept:
            yield f"tables/{table.name}.csv", comma_separated(table, study.digest)


def _forget(folder: Path, written: set[str]) -> None:
    """Remove what an earlier call wrote here and this one did not, but for what is made on demand; nothing else."""
    manifest = folder / MANIFEST
    earlier = manifest.read_text(encoding="utf-8", errors="replace").split("\n") if manifest.is_file() else []
    for path in (folder / name for name in earlier if name not in written and not name.startswith(ON_DEMAND)):
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            path.unlink()
    files.write_text(manifest, "\n".join(sorted(written)) + "\n")

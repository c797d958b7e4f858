"""One command, one frame: what is written, that it is the same again, and that it carries the frame's digest."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kd_experiments.places import home, published_numbers
from kd_experiments.reporting import frame as frames
from kd_experiments.reporting.__main__ import main
from kd_experiments.reporting.page import _details
from kd_experiments.reporting.published import FILES, footing
from kd_experiments.reporting.study import Study
from kd_experiments.reporting.sweep_tables import Grid, _value
from kd_experiments.reporting.table import CAPTION, Cell, Row, Table, latex, markdown
from kd_experiments.reporting.writing import (
    BEGIN,
    END,
    FINDINGS,
    MANIFEST,
    ROWS,
    _forget,
    embedded,
    own_folder,
    readme,
)
from kd_experiments.sweeping.definitions import outline
from tests.reporting.synthetic import METHODS, SETTING, record, several, swept, write

COMMITTED = tuple(path.parent for path in (home() / "results").glob("**/runs.csv") if "own" not in path.parts)
NUMBER = r"[+−-]?\d+\.\d+"


def files(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and "runs" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def test_tables_figures_and_page_carry_one_digest(tmp_path: Path) -> None:
    write(tmp_path, *(record(method, seed) for method in ("none", "kd", "lrds") for seed in range(3)))
    assert main([f"paths.results={tmp_path}", "latex=true", "cost=true"]) == 0
    mark = frames.digest(frames.runs(tmp_path, digits=7))
    made = files(tmp_path)
    expected = {"README.md", "runs.csv", "tables/digits.md", "report/index.html"}
    expected |= {"figures/forest-digits-resnet20-resnet8.pdf", "paper/digits-resnet20-resnet8.tex"}
    assert expected | {"paper/digits-resnet20-resnet8-full.tex"} <= set(made)
    for name, content in made.items():
        if name not in ("runs.csv", "report/files.txt", "tables/published.md"):  # the last is not made of runs
            assert mark.encode() in content, name
    assert frames.digest(frames.runs(csv=tmp_path / "runs.csv")) == mark


def test_the_page_alone_needs_one_format_of_its_figures(tmp_path: Path) -> None:
    results = write(tmp_path / "results", *several())
    assert main([f"paths.results={results}", "write=page"]) == 0
    assert {path.suffix for path in (results / "figures").iterdir()} == {".svg", ".txt"}
    page = (results / "report/index.html").read_bytes()
    assert main([f"paths.results={results}"]) == 0
    assert {path.suffix for path in (results / "figures").iterdir()} == {".svg", ".txt", ".pdf", ".png"}
    assert (results / "report/index.html").read_bytes() == page


def test_the_committed_file_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, *several())
    assert main([f"paths.results={tmp_path}", "write=tables"]) == 0
    first = files(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "tables")
    assert main([f"csv={tmp_path / 'runs.csv'}", "write=tables"]) == 0
    assert files(tmp_path) == first and any(name.startswith("tables/sweep-lrds_ratio-small-digits") for name in first)


@pytest.mark.parametrize("committed", COMMITTED)
def test_what_is_committed_here_is_made_of_its_runs(tmp_path: Path, committed: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "."], cwd=committed, capture_output=True, text=True, check=True).stdout
    shutil.copy(committed / FINDINGS, tmp_path)
    assert main([f"csv={committed / 'runs.csv'}", f"out={tmp_path}", "write=tables"]) == 0
    kept = {name for name in listed.split() if name.startswith("tables/") or name == FINDINGS}
    assert kept | {"README.md", "runs.csv"} == set(files(tmp_path))
    for name, content in files(tmp_path).items():
        assert (committed / name).read_bytes() == content, name
    study = Study(frames.runs(csv=committed / "runs.csv"))
    if committed == COMMITTED[0]:
        front_page = (home() / "README.md").read_text()
        assert BEGIN in front_page and embedded(front_page, study) == front_page
    for name in listed.split():
        if name.startswith(("figures/", "report/", "cost/")) and name != MANIFEST:
            assert study.digest.encode() in (committed / name).read_bytes(), name


def test_every_number_of_the_findings_stands_in_a_table() -> None:
    """What is written by hand says nothing that no table says: every number with a decimal point, signs included."""
    committed = home() / "results"
    tables = "".join(path.read_text() for path in sorted(committed.rglob("tables/*.md")) if "own" not in path.parts)
    known = set(re.findall(NUMBER, tables))
    told = re.findall(NUMBER, (committed / FINDINGS).read_text())
    assert told and not [number for number in told if number not in known]


def test_a_findings_text_stands_in_the_readme(tmp_path: Path) -> None:
    write(tmp_path, *several())
    (tmp_path / FINDINGS).write_text("## What was found\n\nNothing yet.\n")
    assert main([f"paths.results={tmp_path}", "write=tables"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "<details><summary>What was found</summary>\n\nNothing yet.\n" in text
    (tmp_path / FINDINGS).write_bytes(b"## Found\n\n\xff")
    assert main([f"paths.results={tmp_path}", "write=tables"]) == 0


def test_sweeps_alone_open_with_the_first(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, *(one for one in several() if one["sweep"]))))
    assert study.main is None and [table.name for table in study.tables] == ["sweep-lrds_ratio-small-digits"]
    text = readme(study)
    assert "126 runs in 1 setting; the largest compares 42 conditions in: " in text and "| influence |" in text
    assert "](figures/sweep-lrds_ratio-small-digits.svg)" in text
    assert len(study.last()) == 2 + 30 + 2 and study.last()[-1] == "12 further in the report"


def test_a_sweep_that_tables_show_whole_makes_no_further_tables(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, *swept("methods"))))
    assert [table.name for table in study.tables] == ["sweep-methods"]


def test_a_sweep_that_chooses_shows_val(tmp_path: Path) -> None:
    """Its table, its figures and what a terminal shows; the test images are for what was chosen."""
    made = [one | {"metrics": one["metrics"] | {"val_top1_last": 60.0 + place % 7}}
            for place, one in enumerate(swept("methods_tuning"))]  # fmt: skip
    study = Study(frames.runs(write(tmp_path, *made)))
    table = next(one for one in study.tables if one.name == "sweep-methods_tuning")
    means = [cell.number for row in table.rows[1:] for cell in row.cells[:-1]]
    assert min(means) >= 60 and max(means) <= 67 and table.caption.startswith("Val top-1 (%). ")
    assert {row["val_top1_last_mean"] for row in table.figures} and "test_top1_last_mean" not in table.figures[0]
    assert study.last()[1].split()[:4] == ["n", "val", "top-1", "(%)"]
    (figure,) = (one for one in study.drawings if one.name == table.name)
    assert "val top-1" in figure.caption and figure.draw().axes[0].get_ylabel() == "val top-1 (%)"


def test_a_sweep_without_a_run_is_said_with_its_command(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, record("kd"))), "dtd_gamma")
    assert study.last() == ["no run of dtd_gamma is there: python -m kd_experiments --multirun +sweeps=dtd_gamma"]


def test_every_source_of_a_published_number_has_a_footing() -> None:
    head, *rows = footing()
    assert {len(row) for row in rows} == {len(head)} and all(all(row) for row in rows)
    counts = [len(list(csv.DictReader(path.open()))) for path in published_numbers().glob("*.csv")
              if path.stem in FILES]  # fmt: skip
    assert sum(int(row[2]) for row in rows) == sum(counts)


def test_a_readme_shows_the_main_table_between_its_markers(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, *several())))
    text = embedded(f"before\n{BEGIN}\nold\n{END}\nafter\n", study)
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n") and "old" not in text
    assert embedded(text, study) == text and embedded("no markers", study) == "no markers"
    assert 3 <= text.count("\n| ") <= 12 and "](results/figures/forest-" in text


def test_a_results_folder_opens_with_one_short_table(tmp_path: Path) -> None:
    text = readme(Study(frames.runs(write(tmp_path, *several()))))
    opening, _, folded = text.partition("<details>")
    assert opening.count("\n| ") - 2 <= ROWS and opening.count("![") == 1 and "Holm" in opening
    assert "What is here" in folded and "tables/digits.md" in folded


def test_latex_of_one_table_is_made_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, *(record(method, seed) for method in ("none", "kd") for seed in range(2)))
    assert main([f"paths.results={tmp_path}", "write=nothing", "latex=digits-resnet20-resnet8"]) == 0
    assert set(files(tmp_path)) == {f"paper/digits-resnet20-resnet8{end}.tex" for end in ("", "-full")}
    assert main([f"paths.results={tmp_path}", "latex=digits-resnet20"]) == 2
    assert "digits-resnet20-resnet8" in capsys.readouterr().err


def test_own_runs_change_nothing_that_is_committed() -> None:
    committed = home() / "results"
    assert own_folder(committed) == own_folder(home()) == committed / "own"
    assert own_folder(Path("elsewhere")) == own_folder(None, "elsewhere/runs.csv") == Path("elsewhere")
    assert own_folder(None, str(committed / "mine.csv")) == own_folder(None, str(home() / "a.csv")) == committed / "own"
    assert own_folder(None, str(committed / "runs.csv")) == committed, "which regenerates what is committed"


def test_what_is_made_on_demand_stays_and_a_list_may_be_damaged(tmp_path: Path) -> None:
    for name in ("paper/a.tex", "cost/a.md", "tables/a.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("made earlier")
    (tmp_path / MANIFEST).parent.mkdir()
    (tmp_path / MANIFEST).write_bytes(b"paper/a.tex\ncost/a.md\ntables/a.md\ntables\n\0\xff\n")
    _forget(tmp_path, {"README.md"})
    assert set(files(tmp_path)) == {"paper/a.tex", "cost/a.md", MANIFEST}


def test_only_a_signature_names_a_folder_of_the_page(tmp_path: Path) -> None:
    made = record("kd")
    frame = frames.runs(write(tmp_path / "results", made))
    (tmp_path / "run.log").write_text("a secret")
    for signature, told in ((made["signature"], True), ("../..", False)):
        (chunk,) = _details(frame.assign(signature=signature), tmp_path / "results")
        assert bool(chunk) is told


def test_a_file_that_is_not_made_any_more_goes_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path, *(record(method, seed) for method in ("none", "kd") for seed in range(2)))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_text("mine")
    assert main([f"paths.results={tmp_path}"]) == 0
    shutil.rmtree(tmp_path / "runs")
    write(tmp_path, *(record(method, seed, noise=0.4) for method in ("none", "kd") for seed in range(2)))
    assert main([f"paths.results={tmp_path}"]) == 0
    left = set(files(tmp_path))
    assert "figures/mine.png" in left and "tables/digits-resnet20-resnet8.csv" not in left
    assert "tables/digits-symmetric0.4-resnet20-resnet8.csv" in left


def test_the_terminal_has_eighty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "lrds selection=teacher_correct ratio=0.55 weighting=right_then_wrong temperature.value=20"
    write(tmp_path, *several(), *(record(long, seed, finished="2027-01-01T00:00:00+00:00") for seed in range(3)))
    assert main([f"paths.results={tmp_path}", "write=nothing"]) == 0
    out = capsys.readouterr().out.split("\n", 1)[1]
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "temperature.value=20" in " ".join(out.split()) and "Δ KD [95 %]" in out and "1 of 4 diverged" in out
    assert list(files(tmp_path)) == []


@pytest.mark.parametrize(
    "wrong", ["csv=nothing.csv", "source=cloud", "write=some", "sweep=lrds_ratios", "reference=kdd"]
)
def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    write(tmp_path, record("kd", 0))
    assert main([f"paths.results={tmp_path}", wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_run_is_told_and_still_makes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"paths.results={tmp_path}"]) == 0
    assert "python -m kd_experiments --multirun method=none,kd seed=0,1" in capsys.readouterr().out


def test_a_sweep_has_a_table_when_half_is_there_or_by_name(tmp_path: Path) -> None:
    whole = [one for one in several() if one["sweep"]]
    half, less = whole[:63], whole[:62]
    (grid,) = Study(frames.runs(write(tmp_path / "half", *half))).grids
    assert grid.jobs == 63 and "63 of 126 runs" in Study(frames.runs(tmp_path / "half")).tables[0].missing[0]
    frame = frames.runs(write(tmp_path / "less", *less))
    assert not Study(frame).grids and len(Study(frame, "lrds_ratio").grids) == 1


def test_a_changed_setting_is_not_in_the_sweep_table(tmp_path: Path) -> None:
    whole = [one for one in several() if one["sweep"]]
    whole[0]["typed"].append("dataset=fashion_mnist")
    study = Study(frames.runs(write(tmp_path, *whole)))
    (grid,) = study.grids
    assert grid.jobs == 125 and grid.title.endswith("; digits")
    of_it, other = Study(study.frame, "lrds_ratio").grids
    assert {of_it.jobs, other.jobs} == {125, 1} and len({of_it.name, other.name}) == 2


def test_further_seeds_and_values_of_a_sweep_are_in_its_table(tmp_path: Path) -> None:
    whole = [one for one in several() if one["sweep"]]
    whole[0]["typed"] = [word.replace("ratio=0.5", "ratio=.50") for word in whole[0]["typed"]]
    typed = ("selection=random", "selection.ratio=0.75", "+sweeps=lrds_ratio", SETTING)
    more = [
        record("lrds ratio=0.75", seed, sweep="lrds_ratio", values={"selection.ratio": 0.75},
               typed=(*typed, f"seed={seed}"))
        for seed in (3, 4)
    ]  # fmt: skip
    (grid,) = Study(frames.runs(write(tmp_path, *whole, *more))).grids
    assert [column[0] for column in grid.columns] == ["0.5", "0.6", "0.7", "0.8", "0.9", "1.0", "0.75"]
    assert len(grid.groups[("influence",), ("0.5",)].runs) == 3
    assert len(grid.groups[("random",), ("0.75",)].runs) == 2 and len(grid.sweep.jobs) == 7 * 7 * 5
    assert {"seed=0,1,2,3,4", "selection.ratio=0.5,0.6,0.7,0.8,0.9,1.0,0.75"} < set(grid.sweep.over)
    assert grid.sweep.command.endswith(SETTING)


@pytest.mark.parametrize(
    ("choice", "words"),
    [("small/fashion_mnist", "fashion_mnist"), ("cmd/cifar10_symmetric", "cifar10_symmetric"),
     ("cifar100/wrn_40_2_ShuffleV1", "wrn_40_2 → ShuffleV1"), ("my_lab/resnet56_resnet20", "resnet56 → resnet20")],
)  # fmt: skip
def test_an_experiment_is_a_pair_where_both_are_networks(choice: str, words: str) -> None:
    assert _value("experiment", choice) == words


def test_grids_whose_settings_end_alike_have_names_of_their_own() -> None:
    keys = ("recipe.epochs", "teacher.recipe.epochs")
    grids = [Grid(outline("lrds_ratio", [f"{key}=3"]), {}, 0, []) for key in keys]
    assert [grid.name for grid in grids] == [f"sweep-lrds_ratio-{key}-3" for key in keys]
    assert all(grid.title.endswith(f"; {key} = 3") for grid, key in zip(grids, keys, strict=True))


def test_names_of_others_are_no_markup_in_headings() -> None:
    table = Table("x", "a|b <b>", "digits", ["c"], [Row("kd", [Cell("1")])], [], head="my_key")
    assert markdown(table).startswith("## a\\|b &lt;b&gt;\n\n| my\\_key | c |\n")


def test_a_caption_loses_whole_parts_to_the_notes() -> None:
    title = "LRDS beside twelve methods on fourteen pairs of networks; a of five words here; b of five words here"
    table = Table(
        "x", title, "digits", ["c"], [Row("kd", [Cell("1")])], [], f"Test top-1 (%). {title}; long {'x ' * 9}."
    )
    text = latex(table, "abc")
    assert "pairs of networks; a of five words here; b of five words here}" in text and "\\item long x x" in text


def test_a_choice_of_none_is_not_the_student_alone(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, *swept("btkd_rectifiers"))))
    (table,) = (one for one in study.tables if one.name.startswith("sweep-"))
    names = [row.name for row in table.rows]
    assert "no revision" in names and "Δ no revision [95 %]" in table.columns and "student (CE)" not in names


def test_a_paper_table_is_small(tmp_path: Path) -> None:
    study = Study(frames.runs(write(tmp_path, *several())))
    for table in study.tables:
        for full in (False, True):
            text = latex(table, study.digest, full)
            caption = re.search(r"\\caption\{(.*)\}", text)
            assert caption is not None and len(caption.group(1).split()) <= CAPTION
            assert r"\resizebox" not in text and r"\label{tab:" in text and r"\begin{tablenotes}" in text
            columns = [
                re.sub(r"[^lr]", "", one)
                for one in re.findall(r"\\begin\{tabular\}\{(?:>\{.*?\}p\{.*?\})?([lr]+)\}", text)
            ]
            assert columns and all(len(one) <= (4 if not full else 7) for one in columns)
    text = latex(study.tables[-2], study.digest).split(r"\begin{tabular}", 1)[1]
    assert text.index("teacher resnet20") < text.index("student (CE)") < text.index("LA + DTD")


def test_latex_compiles_in_a_two_column_class(tmp_path: Path) -> None:
    asked = ["kpsewhich", "threeparttable.sty"]
    if not (shutil.which(asked[0]) and subprocess.run(asked, capture_output=True).stdout):
        pytest.skip("needs pdflatex with threeparttable")
    quoted = [record(method, seed, dataset="cifar100", pair=("resnet56", "resnet20"))
              for method in ("none", "kd", "at", "crd", "reviewkd") for seed in range(2)]  # fmt: skip
    body = ""
    for number, made in enumerate([several(), quoted, swept("lrds_main", dataset="cifar100"), swept("plug_in")]):
        study = Study(frames.runs(write(tmp_path / str(number), *made)))
        body += "".join(latex(table, study.digest, full) for table in study.tables for full in (False, True))
    assert "published" in body
    packages = "\\usepackage[T1]{fontenc}\\usepackage{booktabs,threeparttable,array}"
    text = f"\\documentclass[twocolumn]{{article}}{packages}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace")  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    widest = [float(one) for one in re.findall(r"Overfull \\hbox \((\d+\.\d+)pt", done.stdout)]
    assert max(widest, default=0.0) < 3.0, widest
    assert "Float too large" not in done.stdout


def test_every_synthetic_method_has_a_published_name() -> None:
    from kd_experiments.reporting.settings import method_title

    assert method_title("lrds ratio=0.6") == "LRDS ratio=0.6" and method_title("dkd + lrds") == "DKD + LRDS"
    assert all(method_title(name) != name for name in METHODS)

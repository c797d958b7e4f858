"""Tables from records: what they say, and that they say it honestly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.reporting.__main__ import DEFAULTS, main
from kd_experiments.reporting.comparison import Comparison, compare
from kd_experiments.reporting.records import as_run, settings
from kd_experiments.reporting.tables import all_tables
from tests.conftest import composed
from tests.reporting.synthetic import write_records

TEACHER = {
    "signature": "t" * 16, "network": "resnet20", "test_top1": 95.0, "test_top5": 99.0, "test_nll": 0.2,
    "test_ece": 3.0, "train_top1": 99.0, "train_wrong": 7, "train_size": 700, "train_seconds": 12.0,
}  # fmt: skip


def record(method: str, seed: int, top1: float, *overrides: str) -> dict[str, Any]:
    config = composed(f"method={method}", f"seed={seed}", *overrides)
    taught = config["method"]["distiller"] != "none" and config["method"]["source"] == "teacher"
    return {
        "schema": 1,
        "signature": f"{method}-{seed}-{'-'.join(overrides)}",
        "status": "complete",
        "seed": seed,
        "config": config,
        "teacher": TEACHER if taught else None,
        "data": {"train": 700},
        "metrics": {"test_top1_last": top1, "test_top1_best_val": top1 - 0.1, "test_top1_best_test": top1 + 0.5},
        "timing": {"train_seconds": 3.0, "this_call_seconds": 4.0},
    }


def write(results: Path, *found: dict[str, Any]) -> None:
    for item in found:
        folder = results / "runs" / item["signature"].replace("/", "_")
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(item))


def written(results: Path) -> list[Path]:
    """Make tables of everything below `results`; the files of the first setting's accuracy: md, tex, csv."""
    assert main([f"paths.results={results}"]) == 0
    (table, *_) = (table for table in all_tables(results) if table.kind == "setting")
    return [results / "tables" / f"{table.name}.{ending}" for ending in ("md", "tex", "csv")]


def comparisons(found: list[dict[str, Any]]) -> list[Comparison]:
    return [compare(setting) for setting in settings(as_run(item) for item in found)]


def three(method: str, *values: float, overrides: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [record(method, seed, value, *overrides) for seed, value in enumerate(values)]


def test_no_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"paths.results={tmp_path}"]) == 0
    assert "make some with: python -m kd_experiments" in capsys.readouterr().out
    assert not (tmp_path / "tables").exists()


def test_one_table_a_setting_with_baseline_teacher_and_methods(tmp_path: Path) -> None:
    write(tmp_path, *three("none", 90, 91, 92), *three("kd", 92, 93, 94), *three("lrds", 93, 94.5, 95))
    page, _, figures = written(tmp_path)
    text = page.read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert list(rows)[2:] == ["teacher resnet20", "none", "kd", "lrds"]
    assert "91.00 ± 1.00" in rows["none"] and "94.17 ± 1.04" in rows["lrds"]
    assert "reference" in rows["kd"] and "95.00" in rows["teacher resnet20"]
    assert "**+1.17 [+0.45, +1.88]**\\*" in rows["lrds"]  # differences 1, 1.5, 1
    assert "**−2.00 [−2.00, −2.00]**\\*" in rows["none"]
    kept = list(csv.DictReader(figures.open()))
    lrds = next(row for row in kept if row["method"] == "lrds")
    assert float(lrds["difference"]) == pytest.approx(3.5 / 3, rel=1e-5) and lrds["seeds"] == "0 1 2"
    assert float(lrds["test_top1_last_mean"]) == pytest.approx(94.1667, rel=1e-5)


def test_a_difference_that_may_be_zero_is_not_bold() -> None:
    (table,) = comparisons([*three("kd", 92, 93, 94), *three("lrds", 94, 93, 94.2)])
    row = next(row for row in table.rows if row.label == "lrds")
    assert row.difference is not None and not row.difference.excludes_zero


def test_single_seeds_have_no_interval(tmp_path: Path) -> None:
    write(tmp_path, record("kd", 0, 92), record("lrds", 0, 93))
    text = written(tmp_path)[0].read_text()
    assert "| lrds | 1 | 93.00 | +1.00 |" in text


def test_variants_are_told_apart_by_what_differs() -> None:
    found = [
        *three("kd", 92, 93),
        *three("lrds", 93, 94),
        *three("lrds", 91, 92, overrides=("selection.ratio=0.6",)),
        *three("lrds", 91, 92, overrides=("selection=random",)),
    ]
    (table,) = comparisons(found)
    labels = {row.label for row in table.rows}
    assert any("selection.ratio=0.6" in label for label in labels)
    assert any("selection=random" in label for label in labels)
    assert len(labels) == 4


def test_missing_seeds_name_the_command(tmp_path: Path) -> None:
    write(tmp_path, *three("kd", 92, 93, 94), *three("lrds", 93, 94)[:2], *three("none", 90, 91, 92))
    text = written(tmp_path)[0].read_text()
    assert "lrds lacks seed 2: python -m kd_experiments method=lrds" in text


def test_unfinished_runs_are_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, record("kd", 0, 92), record("kd", 1, 99) | {"status": "failed"})
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "half" / "record.json").write_text("{")
    written(tmp_path)
    said = capsys.readouterr().out
    assert "1 complete, 1 failed, 1 unreadable" in said
    assert f"left out {tmp_path / 'runs' / 'half' / 'record.json'}: not a record of this program" in said


def test_settings_do_not_mix() -> None:
    found = [*three("kd", 92, 93), *three("kd", 80, 81, overrides=("recipe.epochs=3",))]
    assert len(comparisons(found)) == 2
    moved = [record("kd", 0, 92), record("kd", 1, 92, "dataset.root=elsewhere")]
    assert len(comparisons(moved)) == 1


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paths.result=x"]) == 2
    assert "did you mean paths.results?" in capsys.readouterr().err
    assert main(["x"]) == 2


def test_another_reference_is_shown_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, *three("none", 90, 91, 92), *three("kd", 92, 93, 94), *three("lrds", 93, 94.5, 95))
    assert main([f"paths.results={tmp_path}", "reference=lrds"]) == 0
    shown = capsys.readouterr().out
    assert "difference to lrds [95 %]" in shown and "−1.17 [−1.88, −0.45]" in shown
    assert not (tmp_path / "tables").exists()
    assert main([f"paths.results={tmp_path}", "reference=lrd"]) == 2
    assert "did you mean lrds?" in capsys.readouterr().err


def test_figures_of_time_stand_apart(tmp_path: Path) -> None:
    write(tmp_path, *three("kd", 92, 93, 94), *three("none", 90, 91, 92))
    before = [path.read_bytes() for path in written(tmp_path)]
    for path in (tmp_path / "runs").glob("*/record.json"):
        slower = json.loads(path.read_text())
        slower["timing"]["train_seconds"] *= 7
        slower["environment"] = {"device_name": "another machine", "threads": 3}
        slower["teacher"] = slower["teacher"] and slower["teacher"] | {"train_seconds": 99.0}
        path.write_text(json.dumps(slower))
    assert [path.read_bytes() for path in written(tmp_path)] == before
    (cost,) = (tmp_path / "tables").glob("*-cost.md")
    text = cost.read_text()
    assert "| kd | 3 | 21.0 ± 0.0 | another machine, 3 threads |" in text and "99.0" in text


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"metrics": {}}, "broken: KeyError: 'test_top1_last'"),
        ({"metrics": {"test_top1_last": float("nan")}}, "broken: ValueError: test_top1_last is nan"),
        ({"config": {"method": 3}}, "broken: KeyError"),
        ({"schema": 99}, "written by a newer version"),
    ],
)
def test_a_broken_record_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: dict[str, Any], reason: str
) -> None:
    write(tmp_path, *three("kd", 92, 93), record("none", 0, 1) | broken)
    text = written(tmp_path)[0].read_text()
    said = capsys.readouterr().out
    assert "2 complete, 1 unreadable" in said and reason in said and said.count("left out ") == 1
    assert "| kd | 2 |" in text and "none" not in text


def test_older_records_agree_with_newer_ones() -> None:
    """A key that came later, without a value, does not make another setting or method; neither does another teacher's
    storage."""
    old, new = record("kd", 0, 92), record("kd", 1, 93)
    for part in (old["config"]["recipe"], old["config"]["method"]):
        for key in [key for key, value in part.items() if value is None]:
            del part[key]
    del old["config"]["tracking"]
    new["config"]["recipe"]["a_later_key"] = None
    new["config"]["teacher"]["a_later_key"] = "auto"
    (table,) = comparisons([old, new])
    assert [(row.label, row.seeds) for row in table.rows] == [("kd", [0, 1])]


def test_of_a_seed_that_was_run_twice_the_later_counts() -> None:
    early = record("kd", 0, 10) | {"signature": "z", "finished": "2026-01-01T00:00:00+00:00"}
    late = record("kd", 0, 92) | {"signature": "a", "finished": "2026-02-01T00:00:00+00:00"}
    (table,) = comparisons([late, early])
    assert table.rows[0].figures["test_top1_last"].mean == 92 and table.rows[0].seeds == [0]


def test_methods_are_ranked_over_pairs_in_which_all_were_run(tmp_path: Path) -> None:
    pairs = (("student=resnet8",), ("student=vgg8",), ("student=wrn_16_1",))
    values = {"none": (90, 80, 70), "kd": (91, 82, 69), "lrds": (92, 81, 71)}
    found = [
        item
        for method, means in values.items()
        for pair, mean in zip(pairs, means, strict=True)
        for item in three(method, mean - 0.1, mean + 0.1, overrides=pair)
    ]
    write(tmp_path, *found, *three("dkd", 99, 99, overrides=pairs[0]))
    (ranks,) = (table for table in all_tables(tmp_path) if table.kind == "rank")
    assert ranks.title.startswith("Average rank, digits, ")
    assert {row[0].text: row[1].number for row in ranks.rows} == {
        "lrds": pytest.approx(4 / 3),
        "kd": pytest.approx(2),
        "none": pytest.approx(8 / 3),
    }


def test_the_index_lists_every_table_and_older_files_are_told_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *three("kd", 92, 93))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "of_old.csv").write_text("mine")
    written(tmp_path)
    assert (
        "not written this time, from other runs or an older version, and left alone: of_old" in capsys.readouterr().out
    )
    index = (tmp_path / "tables" / "README.md").read_text()
    assert all(f"]({table.name}.md)" in index for table in all_tables(tmp_path)) and "of_old" not in index
    assert (tmp_path / "tables" / "of_old.csv").read_text() == "mine"


def test_help_tells_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{key}=" in said for key in DEFAULTS)


def test_many_records(tmp_path: Path) -> None:
    write_records(tmp_path, 300)
    tables = all_tables(tmp_path)
    assert [table.kind for table in tables].count("setting") == 3
    assert sum(int(row[1].text) for table in tables if table.kind == "setting" for row in table.rows[1:]) == 300
    for table in tables:
        assert all(len(row) == len(table.header) == len(table.keys) for row in table.rows)


def test_latex_is_escaped(tmp_path: Path) -> None:
    write(tmp_path, *three("btkd_average", 92, 93), *three("kd", 92, 93))
    text = written(tmp_path)[1].read_text()
    assert r"btkd\_average" in text and r"top-1, last epoch (\%)" in text and r"\toprule" in text
    assert text.count("{") == text.count("}")


def test_differences_of_one_seed_are_said_to_be_nothing_more(tmp_path: Path) -> None:
    write(tmp_path, record("kd", 0, 92), record("lrds", 0, 93))
    text = written(tmp_path)[0].read_text()
    assert "Differences to kd are of one seed each" in text and "Holm" not in text


def test_runs_in_another_number_format_are_another_setting() -> None:
    found = [
        record(method, seed, top1, *overrides)
        for method, seed, top1, overrides in (
            ("kd", 0, 92, ()),
            ("kd", 1, 93, ("precision=float32",)),
            ("kd", 0, 82, ("precision=bfloat16",)),
            ("none", 0, 90, ()),
            ("none", 0, 80, ("precision=bfloat16",)),
        )
    ]
    full, half = sorted(comparisons(found), key=lambda comparison: len(comparison.setting.title))
    assert [row.seeds for row in full.rows] == [[0], [0, 1]]
    assert [row.figures["test_top1_last"].mean for row in half.rows] == [80, 82]
    assert half.setting.title == f"{full.setting.title}, bfloat16"


def test_automatic_precision_is_that_of_the_device() -> None:
    on_gpu = record("kd", 0, 92) | {"environment": {"device": "cuda"}}
    stated = record("kd", 1, 92, "precision=bfloat16") | {"environment": {"device": "cpu"}}
    assert len(comparisons([on_gpu, stated])) == 1
    assert len(comparisons([on_gpu, record("kd", 1, 92)])) == 2


def test_older_records_are_the_same_method() -> None:
    """They do not say that no KD term was added, nothing was standardised and nothing warmed up."""
    old, new = record("kd", 0, 92), record("kd", 1, 93)
    for key in ("kd_weight", "standardise", "warm_up_epochs"):
        del old["config"]["method"][key]
    (comparison,) = comparisons([old, new])
    assert [(row.label, row.seeds) for row in comparison.rows] == [("kd", [0, 1])]


def test_ranks_are_not_averaged_over_number_formats(tmp_path: Path) -> None:
    half = ("precision=bfloat16",)
    found = [record(name, 0, 90, *more) for name in ("none", "kd") for more in ((), half)]
    found += [record(name, 0, 90, "student=resnet14", *half) for name in ("none", "kd")]
    write(tmp_path, *found)
    (ranks,) = (table for table in all_tables(tmp_path) if table.kind == "rank")
    assert ranks.title.startswith("Average rank, digits") and ranks.title.endswith(" epochs, bfloat16")
    assert sorted(ranks.header[2:]) == ["resnet20 → resnet14", "resnet20 → resnet8"]

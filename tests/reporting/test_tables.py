"""Tables from records: what they say, and that they say it honestly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.reporting.__main__ import main, write_tables
from kd_experiments.reporting.comparison import comparisons
from kd_experiments.reporting.records import as_run
from tests.conftest import composed

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


def three(method: str, *values: float, overrides: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [record(method, seed, value, *overrides) for seed, value in enumerate(values)]


def test_no_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"paths.results={tmp_path}"]) == 0
    assert "make some with: python -m kd_experiments" in capsys.readouterr().out
    assert not (tmp_path / "tables").exists()


def test_one_table_a_setting_with_baseline_teacher_and_methods(tmp_path: Path) -> None:
    write(tmp_path, *three("none", 90, 91, 92), *three("kd", 92, 93, 94), *three("lrds", 93, 94.5, 95))
    written = write_tables(tmp_path)
    assert [path.suffix for path in written] == [".md", ".tex", ".csv"]
    text = written[0].read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert list(rows)[2:] == ["teacher resnet20", "none", "kd", "lrds"]
    assert "91.00 ± 1.00" in rows["none"] and "94.17 ± 1.04" in rows["lrds"]
    assert "reference" in rows["kd"] and "95.00" in rows["teacher resnet20"]
    assert "**+1.17 [+0.45, +1.88]**" in rows["lrds"]  # differences 1, 1.5, 1
    assert "**−2.00 [−2.00, −2.00]**" in rows["none"]
    kept = list(csv.DictReader(written[2].open()))
    lrds = next(row for row in kept if row["method"] == "lrds")
    assert float(lrds["difference"]) == pytest.approx(3.5 / 3, rel=1e-5) and lrds["seeds"] == "0 1 2"
    assert float(lrds["test_top1_last_mean"]) == pytest.approx(94.1667, rel=1e-5)


def test_a_difference_that_may_be_zero_is_not_bold() -> None:
    (table,) = comparisons([as_run(r) for r in [*three("kd", 92, 93, 94), *three("lrds", 94, 93, 94.2)]])
    row = next(row for row in table.rows if row.label == "lrds")
    assert row.difference is not None and not row.difference.excludes_zero


def test_single_seeds_have_no_interval(tmp_path: Path) -> None:
    write(tmp_path, record("kd", 0, 92), record("lrds", 0, 93))
    text = write_tables(tmp_path)[0].read_text()
    assert "| lrds | 1 | 93.00 | +1.00 |" in text


def test_variants_are_told_apart_by_what_differs() -> None:
    found = [
        *three("kd", 92, 93),
        *three("lrds", 93, 94),
        *three("lrds", 91, 92, overrides=("selection.ratio=0.6",)),
        *three("lrds", 91, 92, overrides=("selection=random",)),
    ]
    (table,) = comparisons([as_run(r) for r in found])
    labels = {row.label for row in table.rows}
    assert any("selection.ratio=0.6" in label for label in labels)
    assert any("selection=random" in label for label in labels)
    assert len(labels) == 4


def test_missing_seeds_name_the_command(tmp_path: Path) -> None:
    write(tmp_path, *three("kd", 92, 93, 94), *three("lrds", 93, 94)[:2], *three("none", 90, 91, 92))
    text = write_tables(tmp_path)[0].read_text()
    assert "lrds lacks seed 2: python -m kd_experiments method=lrds" in text


def test_unfinished_runs_are_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, record("kd", 0, 92), record("kd", 1, 99) | {"status": "failed"})
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "half" / "record.json").write_text("{")
    write_tables(tmp_path)
    assert "1 complete, 1 failed, 1 unreadable" in capsys.readouterr().out


def test_settings_do_not_mix() -> None:
    found = [*three("kd", 92, 93), *three("kd", 80, 81, overrides=("recipe.epochs=3",))]
    assert len(comparisons([as_run(r) for r in found])) == 2
    moved = [record("kd", 0, 92), record("kd", 1, 92, "dataset.root=elsewhere")]
    assert len(comparisons([as_run(r) for r in moved])) == 1


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


def test_latex_is_escaped(tmp_path: Path) -> None:
    write(tmp_path, *three("btkd_average", 92, 93), *three("kd", 92, 93))
    text = write_tables(tmp_path)[1].read_text()
    assert r"btkd\_average" in text and r"top-1, last epoch (\%)" in text and r"\toprule" in text
    assert text.count("{") == text.count("}")

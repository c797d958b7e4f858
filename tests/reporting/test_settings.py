"""What is compared with what: replicates, pairs, diverged runs, and what is said of runs that are left out."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.places import files_of
from kd_experiments.reporting.frame import rows, runs
from kd_experiments.reporting.metrics import TOP1
from kd_experiments.reporting.settings import (
    _titles,
    covers,
    is_method_file,
    method_title,
    one_version,
    settings,
)
from kd_experiments.reporting.statistics import Difference, holm, interval
from kd_experiments.reporting.table import comma_separated, markdown
from kd_experiments.reporting.tables import Comparison, compare_setting, setting_table
from tests.reporting.synthetic import record, write


def comparisons(folder: Path, *made: dict[str, Any]) -> list[Comparison]:
    return [compare_setting(one) for one in settings(rows(runs(write(folder, *made))))]


def row(comparison: Comparison, label: str) -> Any:
    return next(one for one in comparison.rows if one.group.label == label)


def test_four_seeds_of_teacher_and_student_are_one_table(tmp_path: Path) -> None:
    made = [record(method, seed, 90 + seed + (method == "lrds") * (1 + seed / 10), seed)
            for method in ("kd", "lrds", "none") for seed in range(4)]  # fmt: skip
    (one,) = comparisons(tmp_path, *made)
    assert {group.group.n for group in one.rows} == {4}
    found = row(one, "lrds").difference
    assert found.n == 4 and found.mean == pytest.approx(1.15)
    assert row(one, "none").difference.n == 4
    assert "4 teachers: both are covered" in covers(one.setting.runs)


def test_one_teacher_is_said_to_cover_no_other(tmp_path: Path) -> None:
    (one,) = comparisons(tmp_path, *(record(method, seed) for method in ("kd", "lrds") for seed in range(3)))
    assert "with one teacher: other teachers are not covered" in markdown(setting_table(one))


def test_pairs_have_the_seed_and_the_teacher_in_common(tmp_path: Path) -> None:
    top1 = {"kd": 90.0, "lrds": 91.0}
    made = [record(method, seed, top1[method] + 5 * teacher + seed, teacher)
            for method in top1 for seed, teacher in itertools.product(range(2), range(2))]  # fmt: skip
    made = [one for one in made if one["label"]["method"] == "kd" or one["teacher"]["seed"] == 1]
    (one,) = comparisons(tmp_path, *made)
    found = row(one, "lrds").difference
    assert found.n == 2 and found.mean == pytest.approx(1.0)


def test_teachers_that_are_not_the_same_network_make_no_pair(tmp_path: Path) -> None:
    made = [record(method, seed, 90.0 + seed * (method == "kd")) for method in ("kd", "lrds") for seed in range(3)]
    made[3]["teacher"] = {**made[3]["teacher"], "train_wrong": 47}
    (one,) = comparisons(tmp_path, *made)
    assert row(one, "lrds").difference.n == 2 and row(one, "lrds").unlike == 1
    assert "Left out of differences: 1 pairs whose teachers are not the same network." in setting_table(one).notes


@pytest.mark.parametrize("end", ["nan", "chance"])
def test_what_diverged_stands_in_its_cell(tmp_path: Path, end: str) -> None:
    made = [record(method, seed, 90.0 + seed / 10) for method in ("kd", "lrds") for seed in range(5)]
    for one in made[5:7]:
        if end == "nan":
            one |= {"status": "diverged", "metrics": {}, "error": "loss is nan"}
        else:
            one["metrics"]["test_top1_last"] = 10.4
    (found,) = comparisons(tmp_path, *made)
    text = markdown(setting_table(found))
    (line,) = [line for line in text.split("\n") if line.startswith("| LRDS")]
    assert "2 of 5 diverged" in line and "**" not in line and "\\*" not in line and "±" not in line
    assert row(found, "lrds").difference is None and not row(found, "lrds").star
    assert setting_table(found).rows[2].cells[1].number == -math.inf, "a gap, when it is sorted"


def test_a_diverged_reference_is_compared_with_nothing(tmp_path: Path) -> None:
    made = [record(method, seed, 10.0 if method == "kd" else 90.0) for method in ("kd", "lrds") for seed in range(3)]
    (found,) = comparisons(tmp_path, *made)
    assert all(one.difference is None for one in found.rows)


def test_the_same_seed_twice_is_left_out_and_said(tmp_path: Path) -> None:
    first = record("kd", 0, 80.0, values={"method.x": 1}, finished="2026-01-01T00:00:00+00:00")
    made = [first, record("kd", 0, 91.0), record("kd", 1, 92.0), record("none", 0), record("none", 1)]
    (found,) = comparisons(tmp_path, *made)
    assert row(found, "kd").group.n == 2 and min(row(found, "kd").group.values(TOP1)) == 91.0
    assert any(text.startswith("Left out: 1 earlier run of kd with the same") for text in setting_table(found).notes)


def test_machines_and_failed_runs_are_said(tmp_path: Path) -> None:
    made = [record("kd", seed) for seed in range(3)] + [record("lrds", seed) for seed in range(3)]
    made[0]["machine"] = {**made[0]["machine"], "threads": 2, "capability": "AVX512"}
    made[5] |= {"status": "failed", "error": "out of memory", "metrics": {}}
    (found,) = comparisons(tmp_path, *made)
    notes = " ".join(setting_table(found).notes)
    assert "Pooled over 2 machines or numbers of threads" in notes and "AVX512" in notes
    assert "Not counted: 1 failed run." in notes


def test_a_missing_seed_comes_with_the_teacher_of_its_pair(tmp_path: Path) -> None:
    def typed(method: str, seed: int) -> tuple[str, ...]:
        return (f"method={method}", f"teacher.seed={seed}", f"seed={seed}")

    made = [record("kd", seed, teacher_seed=seed, typed=typed("kd", seed)) for seed in range(4)]
    made += [record("lrds", seed, teacher_seed=seed, typed=typed("lrds", seed)) for seed in range(2)]
    (found,) = comparisons(tmp_path, *made)
    commands = [line.partition(": ")[2] for line in setting_table(found).missing]
    assert commands == [f"python -m kd_experiments --multirun method=lrds teacher.seed={seed} seed={seed}"
                        for seed in (2, 3)]  # fmt: skip


def test_own_code_of_one_version_goes_by_its_name() -> None:
    bare = [str(run["method"]) for run in one_version([{"method": "mine lr=1 @1a2b3c"}, {"method": "kd"}])]
    assert bare == ["mine lr=1", "kd"]
    several = [{"method": name} for name in ("mine @1a2b3c", "mine @1a2b3d+ffffff", "kd @1a2b3c", "kd")]
    assert [run["method"] for run in one_version(several)] == [run["method"] for run in several]


def test_a_method_file_that_is_wrong_costs_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff")
    known = files_of("method")
    monkeypatch.setattr(
        "kd_experiments.reporting.settings.files_of", lambda group: known | {"mine": tmp_path / "mine.yaml"}
    )
    _titles.cache_clear()
    try:
        assert method_title("mine lr=1") == "mine lr=1" and method_title("kd") == "KD" and is_method_file("mine")
    finally:
        _titles.cache_clear()


def test_no_scatter_has_no_interval_and_few_pairs_no_star() -> None:
    for equal in ([0.5, 0.5], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.7]):
        found = interval(equal)
        assert math.isnan(found.low) and math.isnan(found.p) and not found.excludes_zero
        assert holm([found]) == [False]
    assert holm([interval([1.0, 1.0001])]) == [False]
    assert holm([interval([1.0, 1.0001, 1.0002])]) == [True]


@pytest.mark.parametrize(("n", "factor"), [(2, 11.54989), (5, 1.681997), (10, 0.9960019), (30, 0.5292357)])
def test_the_detectable_difference_is_that_of_a_paired_t_test(n: int, factor: float) -> None:
    """Solved by statsmodels 0.14 for a power of .8 at 5 %, two-sided, in units of the deviation."""
    assert Difference(1.0, 0.5, 1.5, n, 2.0, 0.01).detectable == pytest.approx(2 * factor, rel=3e-6)


def test_holm_goes_down_and_stops() -> None:
    def one(p: float) -> Difference:
        return Difference(1.0, 0.1, 1.9, 5, 1.0, p)

    assert holm([one(0.04), None, one(0.001), one(0.02)]) == [True, False, True, True]
    assert holm([one(0.04), one(0.03), one(0.001)]) == [False, False, True]


def test_an_unrelated_sweep_changes_no_star(tmp_path: Path) -> None:
    above = {"kd": 0.0, "lrds": 1.0, "dkd": 0.3}
    made = [
        record(method, seed, 90 + seed / 10 + gain + seed**2 / 90 * (method == "dkd"))
        for method, gain in above.items()
        for seed in range(3)
    ]
    (before,) = comparisons(tmp_path / "a", *made)
    other = [record(f"lrds ratio={ratio}", seed, values={"selection.ratio": ratio}, sweep="lrds_ratio")
             for ratio in (0.5, 0.7) for seed in range(3)]  # fmt: skip
    found = rows(runs(write(tmp_path / "b", *made, *other)))
    swept = frozenset(run["signature"] for run in found if "sweep" in run)
    (after,) = [compare_setting(one, "", swept) for one in settings(found)]
    assert comma_separated(setting_table(before), "x") == comma_separated(setting_table(after), "x")


def test_settings_are_told_apart_by_words(tmp_path: Path) -> None:
    made = [record("kd", 0), record("kd", 0, epochs=40), record("kd", 0, noise=0.4), record("kd", 0, dataset="cifar10")]
    slugs = [one.slug for one in settings(rows(runs(write(tmp_path, *made))))]
    assert slugs == ["cifar10-resnet20-resnet8", "digits-resnet20-resnet8-epochs20", "digits-resnet20-resnet8-epochs40",
                     "digits-symmetric0.4-resnet20-resnet8"]  # fmt: skip

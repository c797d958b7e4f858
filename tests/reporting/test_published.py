"""Numbers from papers beside ours: only where everything agrees, with statistic and source."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from kd_experiments.places import published_numbers
from kd_experiments.reporting.comparison import accuracy_table, compare
from kd_experiments.reporting.formats import markdown
from kd_experiments.reporting.published import METHODS, TEACHER, published
from kd_experiments.reporting.records import as_run, settings
from tests.reporting.test_tables import TEACHER as FACTS
from tests.reporting.test_tables import record

PAIR = ("dataset=cifar100", "teacher=resnet56", "student=resnet20")


def given(dataset: str, student: str, noise: str = "none", rate: float = 0.4, **more: Any) -> dict[str, Any]:
    return {
        "dataset": {"name": dataset} | more,
        "student": {"network": student},
        "label_noise": {"name": noise, "rate": rate},
    }


def test_every_row_of_the_files_is_found_or_has_no_counterpart() -> None:
    for name in ("cifar100", "imagenet"):
        for row in csv.DictReader((published_numbers() / f"{name}.csv").open()):
            method = TEACHER if row["method"] == "teacher" else METHODS.get(row["method"])
            if method is not None:
                numbers = published(given(name, row["student"]), row["teacher"], method)
                assert any(one.top1 == float(row["top1"]) and one.statistic == row["statistic"] for one in numbers)


def test_only_the_same_data_networks_noise_and_method() -> None:
    pair = given("cifar100", "resnet20")
    (kd,) = published(pair, "resnet56", "kd")
    assert (kd.top1, kd.statistic) == (70.66, "last epoch") and "CRD" in kd.source
    assert [one.top1 for one in published(pair, None, "none")] == [69.06]  # the student alone, below any teacher
    for config, teacher, method in (
        (given("cifar10", "resnet20"), "resnet56", "kd"),
        (given("cifar100", "resnet20", train_size=1000), "resnet56", "kd"),
        (given("cifar100", "resnet20", "symmetric"), "resnet56", "kd"),
        (pair, "resnet44", "kd"),
        (pair, "resnet56", "lrds"),
        (pair, None, "kd"),
    ):
        assert published(config, teacher, method) == ()
    noisy = published(given("cifar100", "resnet44", "symmetric", 0.4), None, "none_proselflc")
    assert len(noisy) == 1 and noisy[0].statistic == "last iteration; single seed"
    assert published(given("cifar100", "resnet44", "symmetric", 0.3), None, "none_proselflc") == ()
    (resnet,) = {one.top1 for one in published(given("imagenet", "tv_resnet18"), "tv_resnet34", TEACHER)}
    assert resnet == 73.31


def test_a_table_quotes_them_apart_from_ours() -> None:
    facts = FACTS | {"network": "resnet56"}
    found = [record("kd", 0, 60.0, *PAIR), record("dkd", 0, 61.0, *PAIR)]
    (setting,) = settings(as_run(item | {"teacher": facts}) for item in found)
    table = accuracy_table(compare(setting))
    column = list(table.keys).index("published")
    quoted = {row[0].text: row[column].text for row in table.rows}
    assert quoted["kd"] == "70.66 [1]" and quoted["teacher resnet56"] == "72.34 [1]"
    assert quoted["dkd"].endswith("[2]")
    page = markdown(table)
    assert "[1] last epoch; RepDistiller README" in page and "[2] best test epoch; mdistiller README" in page
    assert {row[0].text: row[2].number for row in table.rows}["kd"] == 60.0


@pytest.mark.parametrize("change", ["method.temperature=8", "revision=label_revision"])
def test_a_changed_method_is_not_the_papers(change: str) -> None:
    item = record("kd", 0, 60.0, *PAIR, change) | {"teacher": FACTS | {"network": "resnet56"}}
    (setting,) = settings([as_run(item)])
    assert [row.published for row in compare(setting).rows] == [()]

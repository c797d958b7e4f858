"""Numbers from papers stand beside ours only where data, networks, label noise and method are the same."""

from __future__ import annotations

from pathlib import Path

from kd_experiments.cli.choices import methods
from kd_experiments.reporting import published as papers
from kd_experiments.reporting.frame import Run, rows, runs
from kd_experiments.reporting.published import TEACHER, published, quoted
from tests.reporting.synthetic import record, write


def of(folder: Path, *made: dict[str, object]) -> list[Run]:
    return rows(runs(write(folder, *made)))


def test_a_pair_of_the_papers_is_quoted_with_its_source(tmp_path: Path) -> None:
    found = of(tmp_path, record("kd", dataset="cifar100", pair=("resnet56", "resnet20")))
    numbers = published(found, "kd")
    assert 70.66 in [one.top1 for one in numbers] and published(found, TEACHER) and published(found, "none")
    (text,), notes = quoted([numbers])
    assert "70.66 [1]" in text and "CRD" in notes[0] and "not computed here" in notes[0]
    assert quoted([[], []]) == (["", ""], [])


def test_anything_else_is_not(tmp_path: Path) -> None:
    other = {"dataset": "cifar100", "pair": ("resnet56", "resnet8")}
    assert not published(of(tmp_path / "pair", record("kd", **other)), "kd")
    assert not published(of(tmp_path / "data", record("kd", pair=("resnet56", "resnet20"))), "kd")
    noisy = record("kd", dataset="cifar100", pair=("resnet56", "resnet20"), noise=0.4)
    assert not published(of(tmp_path / "noise", noisy), "kd")


def test_every_name_is_of_a_method_file() -> None:
    known = {method.name for method in methods()} | {TEACHER}
    assert {row["method"] for row in papers._rows("names")} <= known

"""What a sweep takes: counted from its runs, with speeds that a test makes up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kd_experiments.errors import UserError
from kd_experiments.sweeping import plan
from kd_experiments.sweeping.__main__ import main
from kd_experiments.sweeping.definitions import each_run

SMALL = ("experiment=small/digits", "seed=0,1")


def speed(network: str, shape: plan.Shape, batch: int, learns: bool) -> float:
    return 100.0 if learns else 400.0


@pytest.fixture(scope="module")
def plans() -> list[plan.Work]:
    return each_run("methods", [*SMALL, "method=none,kd,at_kd"], plan.work_of)


def test_time_is_counted_by_images(plans: list[plan.Work]) -> None:
    found = plan.cost(plans, speed)
    shown = 600 * 20  # images of one student's training
    assert len(plans) == 6 and {one.epochs for one in plans} == {20}
    assert found.students == pytest.approx(6 * shown / 100 + 2 * shown / 400)  # at_kd asks the teacher in every step
    assert found.teachers == pytest.approx(2 * 600 * 6 / 100)
    assert found.answers == pytest.approx(2 * 600 * 9 / 400)  # 9 views an image, fewer than 20 epochs ask for
    assert found.tables_bytes == 2 * 600 * 9 * (10 * 4 + 4)


def test_no_teacher_costs_nothing_of_one(plans: list[plan.Work]) -> None:
    found = plan.cost([one for one in plans if one.teacher is None], speed)
    assert found.seconds == found.students == pytest.approx(2 * 600 * 20 / 100) and found.tables_bytes == 0


def test_mutual_learners_are_two() -> None:
    (one,) = each_run("methods", ["experiment=small/digits", "seed=0", "method=dml"], plan.work_of)
    assert one.learners == 2 and one.teacher is None


def test_own_images_cannot_be_counted() -> None:
    with pytest.raises(UserError, match="plan published data"):
        each_run("methods", ["experiment=btkd/image_folder_224", "seed=0", "method=kd"], plan.work_of)


def test_speeds_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(network: str, *_: object) -> float:
        asked.append(network)
        return 50.0

    monkeypatch.setattr(plan, "images_per_second", measure)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    first = plan.plan("methods", [*SMALL, "method=none,kd"], tmp_path)
    again = plan.plan("methods", [*SMALL, "method=none,kd"], tmp_path)
    assert first == again and sorted(asked) == ["resnet20", "resnet20", "resnet8"]
    assert "4, 0 done, 4 to run" in first.lines[1]
    assert first.start[:3] == ["-m", "kd_experiments", "--multirun"] and first.start[-1].startswith("hydra/launcher=")
    chosen = plan.plan("methods", [*SMALL, "method=none", "hydra/launcher=ray_local", "imports=[]"], tmp_path)
    assert chosen.start[-2:] == ["hydra/launcher=ray_local", "imports=[]"]


def test_a_busy_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "images_per_second", lambda *_: 50.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e3, 0.0, 0.0))
    told = [plan.plan("methods", [*SMALL, "method=none"], tmp_path).lines for _ in range(2)]
    assert ["was busy" in "".join(lines) for lines in told] == [True, False], "what was kept was measured earlier"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=methods", "over=experiment=small/digits seed=0 method=none", f"paths.results={tmp_path}"]
    assert main(["plan", *words]) == 0
    said = capsys.readouterr().out
    assert "1, 0 done, 1 to run" in said and "resnet8" in said and "1x8x8" in said and "threads" in said
    assert main(["plan"]) == 2 and "which sweep?" in capsys.readouterr().err

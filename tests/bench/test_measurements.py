"""Every measurement runs and measures what it says, on a subject of a few images."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import epoch, influence, live, memory, methods, one_teacher, processes, profile, whole_run
from bench.material import Material, Subject
from bench.measurement import Setting
from kd_experiments.distillers import DISTILLERS
from kd_experiments.teachers.frozen import LiveTeacher
from tests.bench.conftest import PAIR

pytestmark = pytest.mark.slow  # whole runs, many times over


def test_the_subject_is_a_real_run(subject: Subject) -> None:
    data = subject.data
    assert (len(data.train), len(data.test), data.classes, data.size) == (100, 100, 100, 32)
    training = subject.training()
    assert [learner.name for learner in training.learners] == ["student"]
    first, second = (training.train_epoch(number)["loss"] for number in range(2))
    assert first != second
    assert subject.training(subject.with_overrides("method=none")).source is None
    assert isinstance(subject.training(subject.with_overrides("method=at")).source, LiveTeacher)
    selected = subject.training(subject.with_overrides("method=lrds", "selection.ratio=0.5")).selected
    assert selected is not None and int(selected.sum()) == 50


def test_epoch_figures(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(epoch.FASTER, PAIR, 3.0)
    over_conventional, first_run, over_bare, half, half_first = epoch.of_pair(subject, PAIR, 2)
    parts = {name: list(values) for name, values in first_run.parts.items()}
    share = epoch.unseen_share(162, 240)
    assert 0.5 < share < 0.55
    for turn in range(2):
        ours, conventional = parts["ours"][turn], parts["conventional"][turn]
        assert over_conventional.values[turn] == pytest.approx(conventional / ours)
        assert first_run.values[turn] == pytest.approx(conventional / (ours + share * parts["fill"][turn]))
        assert over_bare.values[turn] == pytest.approx(ours / parts["bare"][turn])
        in_half = parts["ours_bfloat16"][turn]
        assert half.values[turn] == pytest.approx(conventional / in_half)
        in_first = in_half + share * parts["fill_bfloat16"][turn]
        assert half_first.values[turn] == pytest.approx(conventional / in_first)


def test_influence_is_computed_anew_in_every_repetition(subject: Subject, setting: Setting) -> None:
    kept = set(subject.teacher.folder.glob("scores-*"))
    figure = influence.of_teacher(subject, 2, setting)
    assert len(figure.values) == 2 and "111% as many images" in figure.note
    assert len(set(subject.teacher.folder.glob("scores-*")) - kept) == 3  # with the warm-up


def test_one_teacher_for_several_methods(folder: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_teacher, "PAIR", PAIR)
    monkeypatch.setattr(one_teacher, "EPOCHS", 1)
    figure = one_teacher.of_methods(Material(folder, 100), ("kd", "dist"), setting)
    methods_, alone = figure.parts["methods"], figure.parts["student_only"]
    assert len(methods_) == len(alone) == 2 and figure.values == [sum(methods_) / sum(alone)]
    assert len(set(one_teacher.METHODS)) == 20


def test_every_method_of_the_twenty_reads_only_logits(subject: Subject) -> None:
    for name in one_teacher.METHODS:
        config = subject.with_overrides(f"method={name}")
        assert config.source == "teacher" and DISTILLERS[config.method.distiller].needs == "logits", name


def test_method_costs(subject: Subject, setting: Setting) -> None:
    kd, rkd, ab = methods.of_methods(subject, ["kd", "rkd", "ab"], 1)
    assert kd.parts["memory_MB"] == kd.parts["kd_memory_MB"]
    teacher = sum(tensor.nbytes for tensor in subject.teacher.network.parameters()) / 1e6
    assert ab.parts["memory_MB"][0] > methods.memory(subject, "none") / 1e6 + teacher
    assert (kd.target, rkd.target, ab.target) == (None, methods.BY_VIEW, None)
    assert len(ab.values) == 1


def test_live_methods_are_compared_with_what_they_read(subject: Subject) -> None:
    found = list(live.of_methods(subject, ["fitnet", "ab", "reviewkd", "dml"], 1))
    assert ["fitnet" in figure.about for figure in found] == [True, False, False, False]
    assert [figure.about.split(":")[0] for figure in found] == ["fitnet", "ab, initialising", "ab", "reviewkd"]
    assert "teacher's nothing" in found[2].about and "stages 0 to 3" in found[1].about
    assert [figure.target for figure in found] == [live.TARGET] * 3 + [None]


def test_a_shortened_training_has_so_many_steps_after_its_initialisation(subject: Subject) -> None:
    training = methods.shortened(subject, "ab", 2)
    done = []
    training.learners[0].optimizer.register_step_post_hook(lambda *_: done.append(1))
    training.train_epoch(0)
    assert len(done) == 2 and not training.learners[0].initialising


def test_allocated_is_the_peak_of_what_is_held_at_once() -> None:
    def work() -> torch.Tensor:
        for _ in range(3):
            kept = torch.empty(250_000)
        return kept + 1

    assert methods.allocated(work) == pytest.approx(2e6, rel=0.01)  # the sum and what it is computed from


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is read from Linux's /proc")
def test_memory_of_a_process_with_a_table(folder: Path) -> None:
    seen = memory.observe(folder, 100, 2)
    assert seen["table_bytes"] > 100 * 162 * 100 * 4 and len(seen["after"]) == 2
    memory.forget_peak()
    before = memory.resident()
    with mmap.mmap(-1, 100_000_000) as moment:  # not of what the allocator has kept of earlier tests
        for place in range(0, len(moment), mmap.PAGESIZE):
            moment[place] = 1
    after = memory.resident()
    assert after["VmHWM"] - before["VmRSS"] > 90e6 and after["VmRSS"] - before["VmRSS"] < 50e6


@pytest.mark.slow
def test_two_processes_at_a_time(tmp_path: Path, setting: Setting) -> None:
    material = Material(tmp_path, 100)
    material.subject(PAIR, setting.device)
    worker = processes.Worker(tmp_path, PAIR, 1, 100)
    processes.epochs([worker])
    processes.epochs([worker])
    worker.stop()


@pytest.mark.slow
def test_the_first_step_ends_the_process(tmp_path: Path) -> None:
    given = ["dataset.train_size=200", "teacher.recipe.epochs=1", "teacher=resnet8", "recipe.epochs=2", "method=none"]
    common = ["tracking.mode=disabled", "threads=1", "device=cpu", f"paths.results={tmp_path}"]
    command = [sys.executable, "-m", "bench.start", *given, *common]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    (history,) = [list(run.glob("history.csv")) for run in (tmp_path / "runs").iterdir() if run.is_dir()]
    assert not history  # it never came to the end of an epoch


def test_without_a_gpu_its_run_is_reported_as_not_run(setting: Setting) -> None:
    (figure,) = whole_run.figures(setting)
    assert figure.values == [] and figure.met is None and "no CUDA" in figure.note


def test_a_whole_run_is_worked_out_from_its_epochs(subject: Subject, setting: Setting) -> None:
    figure = whole_run.extrapolated(subject, setting, epochs=2)
    assert subject.data.views is not None
    share = epoch.unseen_share(subject.data.views.count, 240)
    parts = figure.parts
    for turn, value in enumerate(figure.values):
        each = share * parts["fill"][turn] + parts["train"][turn] + parts["evaluate"][turn]
        assert value == pytest.approx(240 * each)
    assert len(figure.values) == 2 and figure.unit == "s"


def test_a_profile_accounts_for_the_whole_step(subject: Subject, tmp_path: Path) -> None:
    text = profile.report(subject, PAIR, tmp_path)
    shares = [float(line.split("%")[0]) for line in text.split("operators")[0].splitlines()[1:] if "%" in line]
    assert len(shares) == len(profile.PARTS) and sum(shares) == pytest.approx(100, abs=0.5)
    assert all(share > 0 for share in shares)
    assert (tmp_path / "resnet8-resnet8.json").stat().st_size > 1000

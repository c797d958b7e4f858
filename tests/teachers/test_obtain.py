"""Teachers: trained once, kept, measured, or loaded from a file."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_experiments import stopping
from kd_experiments.networks import build
from tests.conftest import TINY, Cli, records


def checkpoint(
    path: Path, name: str = "resnet8", classes: int = 10, channels: int = 1, prefix: str = "", seed: int = 0
) -> Path:
    torch.manual_seed(seed)
    network = build(name, classes=classes, channels=channels, size=8)
    torch.save({"model": {prefix + key: value for key, value in network.state_dict().items()}, "epoch": 240}, path)
    return path


@pytest.mark.slow
def test_two_processes_train_one_teacher_once(tmp_path: Path) -> None:
    base = [
        sys.executable,
        "-m",
        "kd_experiments",
        *TINY,
        f"paths.results={tmp_path}",
        "method=kd",
        "teacher.recipe.epochs=6",
    ]
    processes = [
        subprocess.Popen([*base, f"seed={seed}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for seed in (0, 1)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("teacher trained in" in text for text in said) == 1
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    assert [record["status"] for record in records(tmp_path)] == ["complete"] * 2


def test_an_interrupted_teacher_goes_on(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_experiments.tracking.display import Display

    whole = tmp_path / "whole"
    assert cli(f"paths.results={whole}", "teacher.recipe.epochs=3").code == 0
    real = Display.epoch

    def pull(self: Display, row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            raise stopping.Stopped(signal.SIGINT)
        real(self, row)

    monkeypatch.setattr(Display, "epoch", pull)
    assert cli(f"paths.results={tmp_path / 'parts'}", "teacher.recipe.epochs=3").code == 130
    monkeypatch.setattr(Display, "epoch", real)
    resumed = cli(f"paths.results={tmp_path / 'parts'}", "teacher.recipe.epochs=3")
    assert resumed.code == 0 and "resuming after epoch 2 of 3" in resumed.out
    states = [
        torch.load(next((folder / "teachers").glob("*/teacher.pt")), weights_only=True)["model"]
        for folder in (whole, tmp_path / "parts")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("prefix", ["", "module.", "student.", "teacher.", "module.teacher."])
def test_given_checkpoints_load_with_any_known_prefix(cli: Cli, tmp_path: Path, prefix: str) -> None:
    path = checkpoint(tmp_path / "given.pth", prefix=prefix)
    assert cli("method=kd", f"teacher.checkpoint={path}").code == 0
    (record,) = records(tmp_path)
    assert record["teacher"]["checkpoint"] == str(path) and record["teacher"]["train_wrong"] > 0


def test_the_same_file_elsewhere_is_the_same_run(cli: Cli, tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "a.pth")
    second = tmp_path / "b.pth"
    second.write_bytes(first.read_bytes())
    assert cli("method=kd", f"teacher.checkpoint={first}").code == 0
    assert "already done" in cli("method=kd", f"teacher.checkpoint={second}").out


def test_our_own_teacher_file_is_a_given_checkpoint(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=kd").code == 0
    (kept,) = (tmp_path / "teachers").glob("*/teacher.pt")
    assert cli("method=kd", f"teacher.checkpoint={kept}").code == 0
    ours, given = sorted(records(tmp_path), key=lambda record: record["teacher"]["checkpoint"] or "")
    assert ours["metrics"] == given["metrics"]


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {os.environ['KD_TEST_CANARY']}",))


def _bytes(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


def _truncated(path: Path) -> None:
    whole = checkpoint(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_truncated, "truncated"),
        (_bytes(b""), "truncated"),
        (_bytes(b"these are no weights"), "truncated"),
        (_bytes(bytes(range(256)) * 40), "truncated"),
        (lambda path: checkpoint(path, "resnet14"), "not the weights of resnet8: it has besides"),
        (lambda path: checkpoint(path, "vgg8"), "not the weights of resnet8: it lacks"),
        (lambda path: checkpoint(path, "resnet8x4"), "not the weights of resnet8: it has besides"),
        (lambda path: checkpoint(path, classes=100), "made for 100 classes, but this data set has 10"),
        (lambda path: checkpoint(path, channels=3), "conv1.weight has shape"),
        (lambda path: torch.save({"accuracy": 3}, path), "holds no state dict"),
        (lambda path: torch.save([1, 2], path), "holds no state dict"),
        (lambda path: torch.save({"opt": argparse.Namespace(lr=1), "model": {}}, path), "it holds a pickled object"),
        (lambda path: path.write_bytes(pickle.dumps({"model": Malicious()})), "refused"),
        (lambda path: torch.save({"model": Malicious()}, path), "refused"),
    ],
)
def test_bad_checkpoints_are_one_clear_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, words: str
) -> None:
    canary = tmp_path / "executed"
    monkeypatch.setenv("KD_TEST_CANARY", str(canary))
    path = tmp_path / "given.pth"
    write(path)
    answer = cli("method=kd", f"teacher.checkpoint={path}")
    assert answer.code == 2
    assert words in answer.err and answer.err.count("\n") == 1
    assert not canary.exists()


def test_a_teacher_has_a_normalisation_of_its_own(cli: Cli, tmp_path: Path) -> None:
    """Trained on images in [0, 1], it is the same teacher of students that see normalised ones, whatever they read."""
    raw = ("dataset.mean=[0]", "dataset.std=[1]")
    assert cli("method=kd", *raw).code == 0
    (kept,) = (tmp_path / "teachers").glob("*/teacher.pt")
    own = (f"teacher.checkpoint={kept}", "teacher.mean=[0]", "teacher.std=[1]")
    answer = cli("method=kd", f"teacher.checkpoint={kept}")
    assert answer.code == 0
    for method in ("kd", "rkd", "fitnet"):  # a table of logits, one of embeddings, and live features
        told = cli(f"method={method}", *own)
        assert told.code == 0, told.err
    trained = {record["signature"]: record["teacher"] for record in records(tmp_path)}
    as_trained = json.loads((kept.parent / "record.json").read_text())["facts"]["test_nll"]
    same = [facts for facts in trained.values() if facts["test_nll"] == pytest.approx(as_trained, 1e-4)]
    assert len(trained) == 5 and len(same) == 4, "all but the one that is shown what it was not trained on"
    assert len({facts["signature"] for facts in trained.values()}) == 3


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["teacher.mean=[0]", "teacher.std=[1]"], "teacher.mean: it says how the images of a checkpoint's training"),
        (["teacher.checkpoint={}", "teacher.mean=[0]"], "teacher.mean: goes with teacher.std; give both"),
        (["teacher.checkpoint={}", "teacher.std=[1]"], "teacher.std: goes with teacher.mean; give both"),
        (["teacher.checkpoint={}", "teacher.mean=[0,0,0]", "teacher.std=[1,1,1]"], "digits has 1 channel(s)"),
        (["teacher.checkpoint={}", "teacher.mean=[0]", "teacher.std=[0]"], "teacher.std[0]=0: must be over 0"),
    ],
)
def test_a_normalisation_that_cannot_be_is_told(cli: Cli, tmp_path: Path, typed: list[str], words: str) -> None:
    path = checkpoint(tmp_path / "given.pth")
    answer = cli("method=kd", *(word.format(path) for word in typed))
    assert answer.code == 2 and words in answer.err and answer.err.count("\n") == 1


def test_influence_scores_are_kept_with_the_teacher(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("method=lrds").code == 0
    (kept,) = (tmp_path / "teachers").glob("*/scores-*.npz")
    before = kept.stat().st_mtime_ns

    def never(*arguments: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr("kd_experiments.supervision.selection.influence", never)
    assert cli("method=lrds", "selection.ratio=0.3", "seed=1").code == 0
    assert kept.stat().st_mtime_ns == before
    assert sorted(record["selection"]["selected"] for record in records(tmp_path)) == [60, 160]


def test_tracin_uses_snapshots_and_says_when_there_are_none(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=kd", "selection=tracin").code == 0
    path = checkpoint(tmp_path / "given.pth")
    answer = cli("method=kd", "selection=tracin", f"teacher.checkpoint={path}")
    assert answer.code == 2 and "no snapshots of its training" in answer.err


def test_a_snapshot_that_is_gone_is_made_again(cli: Cli, tmp_path: Path) -> None:
    """Scores of the others alone would be other scores; and what was known of the old weights goes with them."""
    tracin = ("method=kd", "selection=tracin", "teacher.snapshots=2", "recipe.epochs=1", "teacher.recipe.epochs=3")
    assert cli(*tracin).code == 0
    (scores,) = (tmp_path / "teachers").glob("*/scores-*.npz")
    before, shots = scores.read_bytes(), sorted(scores.parent.glob("snapshot-*.pt"))
    assert [path.name for path in shots] == ["snapshot-0001.pt", "snapshot-0002.pt"]
    foreign = scores.with_name("scores-foreign.npz")
    for path in (shots[0], scores):
        path.unlink()
    foreign.touch()
    assert cli(*tracin, "seed=1").code == 0
    assert scores.read_bytes() == before and shots[0].exists() and not foreign.exists()


def test_teacher_record_has_its_facts(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=kd").code == 0
    (path,) = (tmp_path / "teachers").glob("*/record.json")
    record = json.loads(path.read_text())
    for name in ("train_top1", "val_top1", "test_top1", "train_wrong", "train_seconds", "seed"):
        assert record["facts"][name] is not None, name
    assert record["identity"]["teacher"]["seed"] == 0 and record["machine"]["threads"] == 1


@pytest.mark.parametrize(("claim", "said"), [("unknown", "may have been"), ("true", "was"), ("false", None)])
def test_record_and_summary_say_whether_a_checkpoint_has_seen_val(
    cli: Cli, tmp_path: Path, claim: str, said: str | None
) -> None:
    answer = cli("method=kd", f"teacher.checkpoint={checkpoint(tmp_path / 'given.pth')}", f"teacher.seen_val={claim}")
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["teacher"]["seen_val"] == {"unknown": "unknown", "true": True, "false": False}[claim]
    told = [line for line in answer.out.splitlines() if "held out as val" in line]
    assert len(told) == (said is not None) and all(f"the checkpoint {said} trained" in line for line in told)


def test_a_teacher_trained_here_has_not_seen_val(cli: Cli, tmp_path: Path) -> None:
    answer = cli("method=kd")
    assert records(tmp_path)[0]["teacher"]["seen_val"] is False and "held out as val" not in answer.out
    refused = cli("method=kd", "teacher.seen_val=true")
    assert refused.code == 2 and "teacher.checkpoint=FILE" in refused.err


def test_a_student_may_start_from_a_file(cli: Cli, tmp_path: Path) -> None:
    """With a control, plain training continued from the same start; another file is another run."""
    starts = [checkpoint(tmp_path / name, seed=seed) for seed, name in enumerate(("a.pth", "b.pth"))]
    quiet = ("recipe.lr=1e-9", "recipe.weight_decay=0")
    for method in ("none", "kd"):
        for start in starts:
            assert cli(f"method={method}", "student=resnet8", f"student.checkpoint={start}", *quiet).code == 0
    given = [torch.load(start, weights_only=True)["model"]["fc.weight"] for start in starts]
    kept = [
        torch.load(path, weights_only=True)["model"]["fc.weight"] for path in (tmp_path / "runs").glob("*/student.pt")
    ]
    assert len(kept) == 4
    assert [sum(torch.allclose(end, start, atol=1e-4) for end in kept) for start in given] == [2, 2]
    missing = cli("method=none", "student.checkpoint=nowhere.pth")
    assert missing.code == 2 and "student.checkpoint=nowhere.pth: there is no such file" in missing.err

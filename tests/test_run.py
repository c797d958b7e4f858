"""One run from command to record: finished, repeated, interrupted, mutual, noisy."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_experiments import files, stopping
from kd_experiments.config import check
from kd_experiments.identity import signature
from kd_experiments.single_run import run
from kd_experiments.tracking.display import Display
from kd_experiments.training import devices
from kd_experiments.training.loop import Training
from tests.conftest import PATIENCE, TINY, Cli, composed, records, shared_teachers


def do(results: Path, *overrides: str) -> dict[str, Any]:
    """The record of a run, as it stands in its file."""
    given = composed(*TINY, shared_teachers(), *overrides)
    given["paths"]["results"] = str(results)  # not typed: composed once for all folders
    content: dict[str, Any] = json.loads(json.dumps(asdict(run(check(given)))))
    return content


def history(results: Path, record: dict[str, Any]) -> list[dict[str, str]]:
    with open(results / "runs" / record["signature"] / "history.csv") as file:
        return list(csv.DictReader(file))


def weights(results: Path, record: dict[str, Any]) -> dict[str, torch.Tensor]:
    path = results / "runs" / record["signature"] / "student.pt"
    return torch.load(path, weights_only=True)["model"]


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_record_holds_what_tables_need(tmp_path: Path) -> None:
    record = do(tmp_path, "method=lrds")
    kept = json.loads((tmp_path / "runs" / record["signature"] / "record.json").read_text())
    assert kept.pop("sha256") and kept == record
    assert kept["status"] == "complete" and kept["error"] is None and kept["config"]["seed"] == 0
    for name in (
        "test_top1_last", "test_top1_best_val", "test_top1_best_test", "test_top5_last", "test_nll_last",
        "test_ece_last", "test_agreement_last", "test_inherited_errors_last", "val_top1_last", "train_top1_last",
    ):  # fmt: skip
        assert isinstance(kept["metrics"][name], float), name
    for name in ("test_top1", "train_top1", "val_top1", "train_wrong", "parameters", "signature", "network"):
        assert name in kept["teacher"]
    assert kept["selection"] == {"strategy": "influence", "selected": 160, "of": 200, "share": 0.8}
    assert 0 <= kept["revision"]["revised"] <= kept["revision"]["wrong"] == kept["teacher"]["train_wrong"]
    assert torch.__version__.startswith(kept["machine"]["packages"]["torch"])
    for name in ("train_seconds", "images_per_second", "peak_memory_bytes"):
        assert kept["timing"][name] > 0
    rows = history(tmp_path, record)
    assert [float(row["epoch"]) for row in rows] == [0, 1]
    assert float(rows[-1]["test_top1"]) == kept["metrics"]["test_top1_last"]
    assert (tmp_path / "runs" / record["signature"] / "config.yaml").exists()


def test_a_finished_run_is_not_repeated_unless_asked(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=kd", shared_teachers()).code == 0
    (path,) = (tmp_path / "runs").glob("*/record.json")
    before = path.stat().st_mtime_ns
    again = cli("method=kd", shared_teachers())
    assert again.code == 0 and "already done" in again.out and "test " in again.out
    assert path.stat().st_mtime_ns == before
    assert cli("method=kd", "rerun=true", shared_teachers()).code == 0
    assert path.stat().st_mtime_ns > before
    assert len(records(tmp_path)) == 1


def test_a_repetition_that_was_stopped_goes_on(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler types the same again, rerun=true included."""
    again = ("method=none", "rerun=true", "recipe.epochs=3")
    assert cli(*again).code == 0
    epochs, train_epoch = [], Training.train_epoch

    def counted(self: Training, epoch: int) -> dict[str, float]:
        epochs.append(epoch)
        if len(epochs) == 2:
            raise stopping.Stopped(signal.SIGTERM)
        return train_epoch(self, epoch)

    monkeypatch.setattr(Training, "train_epoch", counted)
    assert cli(*again).code == 143
    assert cli(*again).code == 0
    assert epochs == [0, 1, 1, 2]


def test_a_checkpoint_of_another_version_is_no_checkpoint(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its check sum is right, but it holds something else, from the start or further on: told, and trained anew."""
    for place, content in (("a", {}), ("b", {"learners": "x"}), ("c", None)):
        given = (f"paths.results={tmp_path / place}", "method=none", "recipe.epochs=1")
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_record", lambda path, record: None)  # the run is never complete
            assert cli(*given).code == 0
        (path,) = (tmp_path / place).glob("runs/*/checkpoint.pt")
        right = files.load_own(path)
        del right["history"]
        files.save(path, right if content is None else content)
        answer = cli(*given)
        assert answer.code == 0 and "checkpoint.pt: damaged" in answer.err
    states = [weights(tmp_path / place, records(tmp_path / place)[0]) for place in "abc"]
    assert all(same_weights(states[0], other) for other in states[1:])


def test_repeating_gives_the_same_weights(tmp_path: Path) -> None:
    first = do(tmp_path / "a", "method=kd")
    second = do(tmp_path / "b", "method=kd")
    assert first["signature"] == second["signature"] and first["metrics"] == second["metrics"]
    assert same_weights(weights(tmp_path / "a", first), weights(tmp_path / "b", second))


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=none",),
        ("method=lrds",),
        ("method=la_dtd",),
        ("method=cmd_p",),
        ("method=btkd",),
        ("method=kd", "recipe.optimizer=adamw", "recipe.lr=0.002", "recipe.clip_norm=0.5", "recipe.ema_decay=0.9"),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_resume_is_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]) -> None:
    whole = do(tmp_path / "whole", "recipe.epochs=4", *overrides)

    class Pulled(BaseException):
        """The plug was pulled."""

    def pull(self: Display, row: dict[str, float]) -> None:
        if row["epoch"] == 1 and "teacher" not in self._title:
            raise Pulled

    monkeypatch.setattr(Display, "epoch", pull)
    with pytest.raises(Pulled):
        do(tmp_path / "parts", "recipe.epochs=4", *overrides)
    monkeypatch.undo()
    (record,) = records(tmp_path / "parts")
    assert record["status"] == "failed" and "Pulled" in record["error"]
    resumed = do(tmp_path / "parts", "recipe.epochs=4", *overrides)
    assert resumed["metrics"] == whole["metrics"]
    assert same_weights(weights(tmp_path / "whole", whole), weights(tmp_path / "parts", resumed))


def _history(results: Path) -> Iterator[int]:
    for path in (results / "runs").glob("*/history.csv"):
        yield len(path.read_text().splitlines()) - 1


@pytest.mark.slow
def test_kill_at_any_moment_and_resume(tmp_path: Path) -> None:
    """A real process is killed with SIGKILL twice; the third call ends as if nothing had happened."""
    overrides = ("method=lrds", "recipe.epochs=12", "teacher.recipe.epochs=4")
    command = [sys.executable, "-m", "kd_experiments", *TINY, *overrides, f"paths.results={tmp_path / 'killed'}"]
    for epochs in (2, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + PATIENCE
        while max(_history(tmp_path / "killed"), default=0) < epochs and process.poll() is None:
            assert time.time() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert [record["status"] for record in records(tmp_path / "killed")] == ["running"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0 and "resuming after epoch" in finished.stdout
    (record,) = records(tmp_path / "killed")
    whole = do(tmp_path / "whole", *overrides)
    assert record["metrics"] == whole["metrics"]
    assert same_weights(weights(tmp_path / "killed", record), weights(tmp_path / "whole", whole))


def test_ratio_one_is_no_selection_and_ratio_zero_plain_training(tmp_path: Path) -> None:
    everyone = do(tmp_path, "method=kd")
    all_selected = do(tmp_path, "method=kd", "selection=influence", "selection.ratio=1")
    nobody = do(tmp_path, "method=lrds", "selection.ratio=0")
    plain = do(tmp_path, "method=none")
    assert everyone["signature"] == all_selected["signature"]
    for name, tensor in weights(tmp_path, plain).items():
        torch.testing.assert_close(weights(tmp_path, nobody)[name], tensor)


def test_all_knowledge_is_deep_mutual_learning_bit_for_bit(tmp_path: Path) -> None:
    dml = do(tmp_path, "method=dml")
    cmd = do(tmp_path, "method=cmd_s", "weighting.eta=1", "weighting.inclusive=true")
    assert dml["signature"] != cmd["signature"]
    assert same_weights(weights(tmp_path, dml), weights(tmp_path, cmd))


def test_zero_knowledge_is_training_alone(tmp_path: Path) -> None:
    zero = do(tmp_path, "method=cmd_s", "weighting.eta=null")
    alone = do(tmp_path, "method=none")
    assert same_weights(weights(tmp_path, zero), weights(tmp_path, alone))


def test_mutual_learning_reports_both_and_their_mean(tmp_path: Path) -> None:
    record = do(tmp_path, "method=cmd_p", "peer=wrn_16_1")
    m = record["metrics"]
    assert m["mean_test_top1_last"] == pytest.approx((m["test_top1_last"] + m["peer_test_top1_last"]) / 2)
    assert m["test_top1_last"] != m["peer_test_top1_last"]
    assert record["teacher"] is None
    rows = history(tmp_path, record)
    assert {"confidence_threshold", "peer_confidence_threshold", "taught_share", "taught_true_share"} <= rows[0].keys()
    assert float(rows[0]["confidence_threshold"]) < float(rows[1]["confidence_threshold"])


def test_clipping_averaging_and_another_optimizer_each_change_the_result(tmp_path: Path) -> None:
    changes = ((), ("recipe.clip_norm=0.1",), ("recipe.ema_decay=0.9",), ("recipe.optimizer=adam", "recipe.lr=0.002"))
    made = [do(tmp_path, "method=none", "recipe.epochs=4", *change) for change in changes]
    assert (
        len({record["signature"] for record in made})
        == len({record["metrics"]["test_nll_last"] for record in made})
        == 4
    )
    off = do(tmp_path / "off", "method=none", "recipe.epochs=4", "recipe.clip_norm=1e9")
    assert off["metrics"] == made[0]["metrics"], "a norm that is never reached clips nothing"


def test_label_noise_is_kept_and_measured(tmp_path: Path) -> None:
    record = do(tmp_path, "method=none", "label_noise=symmetric", "label_noise.rate=0.3")
    assert record["data"]["noisy_labels"] == 60
    with open(tmp_path / "runs" / record["signature"] / "noisy_labels.csv") as file:
        kept = list(csv.DictReader(file))
    assert len(kept) == 60 and all(row["true_label"] != row["given_label"] for row in kept)
    rows = history(tmp_path, record)
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in ("clean_fit", "wrong_fit", "correction"))


def test_signature_names_what_changes_the_result(tmp_path: Path) -> None:
    def named(*overrides: str) -> str:
        return signature(check(composed(*overrides)))

    same = named("method=kd")
    for overrides in (
        ("tracking.mode=disabled",), ("paths.results=elsewhere",), ("threads=1",), ("rerun=true",), ("device=cpu",),
        ("dataset.root=somewhere",), ("peer=vgg8",), ("snapshots=3",), ("method.name=mine",),
        ("precision=auto",), ("capture=off",), ("precision=float32", "device=cpu"),
    ):  # fmt: skip
        assert named("method=kd", *overrides) == same, overrides
    others = {
        named("method=kd", *overrides)
        for overrides in (
            ("seed=1",), ("method.weight=.5",), ("temperature.value=5",), ("recipe.lr=.2",), ("teacher=resnet32",),
            ("teacher.seed=1",), ("teacher.recipe.epochs=3",), ("student=resnet14",), ("dataset.train_size=100",),
            ("label_noise=symmetric",), ("revision=probability_shift",), ("selection=random",),
            ("weighting=right_wrong",), ("label_loss=label_smoothing",), ("precision=bfloat16",),
        )
    }  # fmt: skip
    assert len(others) == 15 and same not in others
    assert named("method=none", "teacher=resnet32") == named("method=none")
    assert named("method=none", "label_loss=label_smoothing") == named("method=none_ls")


def test_half_precision_is_another_result_with_the_same_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)  # emulated where it is not: slow, and right
    setting = ("method=kd", "device=cpu", "recipe.epochs=3", "recipe.lr=0.01")
    precisions: tuple[tuple[str, ...], ...] = ((), ("precision=float32",), ("precision=bfloat16",))
    default, exact, half = (do(tmp_path, *setting, *precision) for precision in precisions)
    assert default["teacher"]["signature"] == exact["teacher"]["signature"] != half["teacher"]["signature"]
    assert default["metrics"] == exact["metrics"], "a CPU computes in float32 unless it is told otherwise"
    assert half["metrics"] != exact["metrics"]
    assert half["metrics"]["test_nll_last"] == pytest.approx(exact["metrics"]["test_nll_last"], rel=0.2)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(tmp_path, half).values())
    assert do(tmp_path / "again", *setting, "precision=bfloat16")["metrics"] == half["metrics"]
    assert do(tmp_path, *setting, "seed=1")["machine"], "and the next run of this process is float32 again"
    assert not torch.is_autocast_enabled("cpu")


def test_a_diverging_run_says_so_and_is_recorded(cli: Cli, tmp_path: Path) -> None:
    answer = cli("method=none", "recipe.lr=1e30")
    assert answer.code == 2 and "training diverged in epoch" in answer.err and "lower recipe.lr" in answer.err
    (record,) = records(tmp_path)
    assert record["status"] == "diverged" and "diverged" in record["error"]
    again = cli("method=none", "recipe.lr=1e30")
    assert again.code == 0 and "already done" in again.out and "training diverged in epoch" in again.out


def test_our_own_mistakes_leave_a_traceback(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("kd_experiments.single_run.load", broken)
    answer = cli("method=none")
    assert answer.code == 1 and "Traceback" in answer.err and "a bug of ours" in answer.err
    (record,) = records(tmp_path)
    assert "a bug of ours" in record["error"]
    (log,) = (tmp_path / "runs").glob("*/run.log")
    assert "Traceback" in log.read_text()


def test_a_loss_that_explodes_is_said_and_a_finished_run_keeps_no_optimiser(cli: Cli, tmp_path: Path) -> None:
    answer = cli("method=none", "recipe.lr=300")
    assert answer.code == 0 and answer.out.count("warning: the loss explodes, ") == 1
    assert "  warning    the loss exploded in epoch 1: " in answer.out and "a lower recipe.lr than 300" in answer.out
    (log,) = tmp_path.glob("runs/*/run.log")
    assert log.read_text().count("the loss explodes") == 1
    assert records(tmp_path)[0]["metrics"]["exploded_epoch"] == 1
    assert cli("method=none", "recipe.lr=1e6").code == 2
    assert {record["status"] for record in records(tmp_path)} == {"complete", "diverged"}
    assert not list(tmp_path.rglob("checkpoint.pt"))

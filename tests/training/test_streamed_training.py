"""Runs on streamed data from the command line: whole, with other workers, interrupted, with a broken image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kd_experiments import stopping
from kd_experiments.config import check
from kd_experiments.data import streamed
from kd_experiments.identity import signature
from kd_experiments.tracking.display import Display
from tests.conftest import PATIENCE, TINY, Cli, composed, records
from tests.data.make_datasets import write_imagenet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imagenet(tmp_path_factory.mktemp("data") / "imagenet")


def streams(root: Path, *more: str) -> list[str]:
    settings = ["image_size=32", "val_fraction=0.25", "train_size=null", "workers=0"]
    given = ["dataset=imagenet", f"dataset.root={root}", *(f"dataset.{setting}" for setting in settings)]
    return [*given, *(f"{who}recipe.{key}" for who in ("", "teacher.") for key in ("batch_size=10", "lr=0.01")), *more]


def weights(results: Path) -> dict[str, torch.Tensor]:
    (path,) = results.glob("runs/*/student.pt")
    return torch.load(path, weights_only=True)["model"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_workers_and_interruptions_change_no_bit(
    cli: Cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    answer = cli(*streams(root, "method=lrds", f"paths.results={whole}"))
    assert answer.code == 0, answer.err
    (record,) = records(whole)
    assert record["selection"]["of"] == record["data"]["train"] == 27 and record["teacher"]["train_size"] == 27
    assert not list(whole.glob("teachers/*/*.f32"))  # no table: these views have no number

    monkeypatch.setattr(streamed, "PIECE", 4)

    class Pulled(BaseException):
        """The plug was pulled."""

    def pull(self: Display, row: dict[str, float]) -> None:
        if row["epoch"] == 0 and "teacher" not in self._title:
            raise Pulled

    parts = tmp_path / "parts"
    command = streams(root, "method=lrds", "dataset.workers=2", f"paths.results={parts}")
    with monkeypatch.context() as patch, pytest.raises(Pulled):
        patch.setattr(Display, "epoch", pull)
        cli(*command)
    assert cli(*command).code == 0
    (resumed,) = records(parts)
    assert resumed["signature"] == record["signature"] and resumed["metrics"] == record["metrics"]
    assert same(weights(whole), weights(parts))


def test_feature_distillers_and_mutual_learning_run(cli: Cli, root: Path) -> None:
    for method in ("fitnet", "dml"):
        answer = cli(*streams(root, f"method={method}", "recipe.epochs=1", "teacher.recipe.epochs=1"))
        assert answer.code == 0, answer.err


def test_a_broken_image_ends_a_run_or_is_left_out(cli: Cli, tmp_path: Path) -> None:
    root = write_imagenet(tmp_path / "imagenet")
    victim = root / "train" / "n01" / "n01_3.JPEG"
    victim.write_bytes(victim.read_bytes()[:500])
    short = ("method=none", "recipe.epochs=1")
    answer = cli(*streams(root, *short, "dataset.workers=2"))
    assert answer.code == 2 and answer.err.count("\n") == 1 and answer.err.startswith(f"error: {victim} (")
    answer = cli(*streams(root, *short, "dataset.skip_corrupt=true"))
    assert answer.code == 0 and "1 of 48 images cannot be decoded and are left out" in answer.err
    (record,) = records(tmp_path)
    assert record["data"]["train"] + record["data"]["val"] == 35


def test_the_signature_is_not_of_workers() -> None:
    def named(*overrides: str) -> str:
        return signature(check(composed("method=none", "dataset=imagenet", *overrides)))

    assert named("dataset.workers=0", "dataset.root=here") == named()
    assert named("dataset.image_size=32") != named()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("number", stopping.EXIT_CODES)
def test_a_signal_ends_run_and_workers(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As a terminal or a scheduler does it: the signal goes to every process of the group."""
    overrides = streams(root, "method=none", "recipe.epochs=1000", "dataset.workers=2", f"paths.results={tmp_path}")
    code = """if True:
        import signal, sys
        from kd_experiments.__main__ import main
        from kd_experiments.data import streamed
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        streamed.PIECE = 2  # so that the small folder needs its workers
        sys.exit(main())"""
    command = [sys.executable, "-c", code, *TINY, *overrides]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.time() + PATIENCE
    while not list(tmp_path.glob("runs/*/history.csv")):
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == stopping.EXIT_CODES[number], error
    assert b"stopped; the same command goes on" in error and b"Traceback" not in error
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, 0)

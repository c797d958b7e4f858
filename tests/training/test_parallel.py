"""Two processes that train one network are one process that sees the whole batch."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, TINY, Answer, Cli

pytestmark = pytest.mark.slow

# The last batch has an odd number of images: 203 = 3 * 64 + 11. Training makes large differences of small ones, such as
# another order of summation: hence one teacher for all, a low learning rate, and a strict look at the first epoch.
SETTING = (*TINY, "dataset.train_size=203", "recipe.epochs=3", "recipe.lr=0.01")
# A table, a relation between samples, negatives by index, an initialisation stage with trainable parts, two learners.
METHODS = {
    "lrds": (),
    "kd": ("teacher.table=off",),
    "rkd": ("method.kd_weight=0.9", "recipe.lr=0.001"),  # roots of small distances make more of a difference
    "crd": ("method.negatives=50",),
    "ft": ("method.initialisation_epochs=1", "method.weight=2"),
    "dml": (),
}


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], seconds: float = PATIENCE) -> Answer:
    out, err = process.communicate(timeout=seconds)
    return Answer(process.returncode, out, err)


def history(results: Path) -> list[dict[str, float]]:
    (path,) = results.glob("runs/*/history.csv")
    with open(path) as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def assert_same(one: list[dict[str, float]], two: list[dict[str, float]]) -> None:
    trained = [row["epoch"] for row in one if row["epoch"] >= 0]  # an initialisation is -1
    assert trained == [0, 1, 2] and len(one) == len(two)
    for single, shared in zip(one, two, strict=True):
        assert single.keys() == shared.keys() and single["epoch"] == shared["epoch"]
        tolerance = 1e-5 if single["epoch"] <= 0 else 1e-2
        for name, value in single.items():
            if name.startswith(("loss", "peer_loss")):
                assert shared[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
            if name.endswith("_nll"):
                assert shared[name] == pytest.approx(value, rel=1e-2), name


def test_two_processes_give_the_losses_of_one(cli: Cli, tmp_path: Path) -> None:
    setting = (*SETTING, f"paths.teachers={tmp_path / 'teachers'}")
    runs = []
    for name, own in METHODS.items():
        single = f"paths.results={tmp_path / 'one' / name}"
        assert cli(f"method={name}", *setting, *own, single, tiny=False).code == 0
        runs.append([f"method={name}", *setting, *own, f"paths.results={tmp_path / 'two' / name}"])
    script = str(Path(__file__).with_name("runs_in_turn.py"))
    answer = finished(torchrun(script, *(" ".join(overrides) for overrides in runs)))
    assert answer.code == 0, answer.err
    for name in METHODS:
        assert_same(history(tmp_path / "one" / name), history(tmp_path / "two" / name))


def test_gradients_and_statistics_are_those_of_the_whole_batch() -> None:
    answer = finished(torchrun(str(Path(__file__).with_name("gradients_of_two.py"))))
    assert answer.code == 0, answer.err
    assert answer.out == "equal\n"


def test_killed_and_asked_again(cli: Cli, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    setting = (*SETTING, f"paths.teachers={tmp_path / 'teachers'}")
    assert cli("method=kd", *setting, f"paths.results={one}", tiny=False).code == 0
    command = ("-m", "kd_experiments", "method=kd", *setting, f"paths.results={two}")
    process = torchrun(*command)
    until = time.monotonic() + PATIENCE
    while not list(two.glob("runs/*/checkpoint.pt")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    answer = finished(torchrun(*command))
    assert answer.code == 0, answer.err
    assert answer.out.count("record  ") == 1, "only one process talks"
    assert_same(history(one), history(two))


def test_a_teacher_that_two_processes_train(tmp_path: Path) -> None:
    answer = finished(torchrun("-m", "kd_experiments", "method=kd", *SETTING, f"paths.results={tmp_path}"))
    assert answer.code == 0, answer.err
    assert len(list(tmp_path.glob("teachers/*/teacher.pt"))) == 1
    assert len(list(tmp_path.glob("teachers/*/views-pad1-noflip.float32"))) == 1
    assert len(history(tmp_path)) == 3


def test_a_batch_that_cannot_be_shared_is_one_clear_line(tmp_path: Path) -> None:
    command = ("-m", "kd_experiments", "method=none", *SETTING, "recipe.batch_size=63", f"paths.results={tmp_path}")
    answer = finished(torchrun(*command))
    assert answer.code != 0
    told = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert told and set(told) == {
        "error: recipe.batch_size=63: cannot be shared by 2 processes; give a multiple of 2",
    }

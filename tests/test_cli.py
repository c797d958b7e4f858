"""The command line: what it does, and one clear line for every mistake."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kd_experiments.cli.choices import read_method
from tests.conftest import Cli, records


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=krd"], "method=krd: no such choice; did you mean kd? (choices: ab, at,"),
        (["dataset=digit"], "did you mean digits?"),
        (["label_noise=symetric"], "did you mean symmetric?"),
        (["teacher=renset20"], "did you mean resnet20?"),
        (["student=resnet9"], "student=resnet9: no such choice"),
        (["peer=wrn_16_9"], "peer=wrn_16_9: no such choice"),
        (["revision=label_revison"], "did you mean label_revision?"),
        (["selection=influense"], "did you mean influence?"),
        (["temperature=dtd"], "temperature=dtd: no such choice"),
        (["weighting=right"], "weighting=right: no such choice"),
        (["label_loss=ce"], "label_loss=ce: no such choice"),
        (["recipe=smal_20"], "did you mean small_20?"),
        (["tracking=wandbb"], "did you mean wandb?"),
        (["experiment=none_such"], "experiment=none_such: no such choice"),
        (["method=lrds", "selection.ration=.5"], "selection.ration: no such key"),
        (["method=lrds", "+selection.ration=.5"], "selection.ration: no such key; did you mean selection.ratio?"),
        (["selection.ratio=.5"], "selection.ratio goes with selection=confidence or"),
        (["+recipe.epoch=3"], "recipe.epoch: no such key; did you mean recipe.epochs?"),
        (["recipe.epoch=3"], "recipe.epoch: no such key for recipe=small_20; did you mean recipe.epochs?"),
        (["datset=digits"], "datset: no such key; did you mean dataset?"),
        (["+sed=3"], "sed: no such key; did you mean seed?"),
        (["method.alpha=1"], "method.alpha: no such key"),
        (["+method.alpha=1"], "method.alpha: no such key"),
        (["method=lrds", "selection.ratio=1.5"], "selection.ratio=1.5: must be at least 0 and at most 1"),
        (["method=lrds", "selection.ratio=-0.1"], "selection.ratio=-0.1: must be at least 0"),
        (["method=lrds", "selection.ratio=lots"], "selection.ratio=lots: expected a number"),
        (["method=lrds", "revision.eta=1"], "revision.eta=1: must be over 0 and under 1"),
        (["method=lrds", "revision.eta=nan"], "revision.eta=nan: expected a finite number"),
        (["method.temperature=0"], "method.temperature=0: must be over 0"),
        (["temperature.value=-1"], "temperature.value=-1: must be over 0"),
        (["recipe.epochs=0"], "recipe.epochs=0: must be at least 1"),
        (["recipe.epochs=1.5"], "recipe.epochs=1.5: expected a whole number"),
        (["recipe.batch_size=0"], "recipe.batch_size=0: must be at least 1"),
        (["recipe.lr=fast"], "recipe.lr=fast: expected a number"),
        (["seed=x"], "seed=x: expected a whole number"),
        (["tracking.mode=onlin"], "tracking.mode=onlin: no such choice; did you mean online?"),
        (["dataset.val_fraction=0"], "dataset.val_fraction=0: must be over 0 and under 1"),
        (["dataset.train_size=100000"], "only 1145 training images are left"),
        (["dataset=fashion_mnist", "dataset.root=/nonexistent"], "there is no such folder"),
        (["teacher.checkpoint=/nonexistent.pt"], "there is no such file"),
        (["method=kd,lrds"], "several values; add --multirun"),
        (["method"], "method: cannot be read as key=value"),
        (["method=none", "selection=influence"], "method=none has no teacher"),
        (["method=none", "temperature=dtd_flsw"], "method=none has no teacher"),
        (["method=cmd_p", "selection=influence"], "scored by a frozen teacher"),
        (["method=lrds", "temperature=dtd_flsw"], "compares without a temperature"),
        (["paths.results=/dev/null/below"], "give paths.results=FOLDER"),
        (["label_noise=symmetric", "label_noise.rate=1"], "label_noise.rate=1: must be at least 0 and under 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(cli: Cli, tmp_path: Path, arguments: list[str], words: str) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    line = answer.err.strip()
    assert line.startswith("error: ") and "\n" not in line
    assert words in line
    assert not list(tmp_path.glob("**/*.pt"))
    assert all(record["status"] == "failed" for record in records(tmp_path))


def test_an_impossible_device(cli: Cli) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "device=cuda: not available" in cli("device=cuda").err


def test_a_sweep_with_a_mistake_in_its_choices_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    answer = cli("--multirun", "method=none,krd")
    assert answer.code == 2 and "did you mean kd?" in answer.err
    assert not records(tmp_path)


def test_a_failing_job_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    answer = cli("--multirun", "method=none", "recipe.lr=-1,0.05")
    assert answer.code == 1 and "recipe.lr=-1: must be over 0" in answer.out
    assert [record["status"] for record in records(tmp_path)] == ["complete"]


def test_sweep_of_methods_and_seeds_shares_one_teacher(cli: Cli, tmp_path: Path) -> None:
    assert cli("--multirun", "method=none,kd,lrds", "seed=0,1", "recipe.lr=${teacher.recipe.lr}").code == 0
    found = records(tmp_path)
    assert all("recipe.lr=${teacher.recipe.lr}" in record["typed"] for record in found)
    assert len(found) == 6 and all(record["status"] == "complete" for record in found)
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    assert len({record["teacher"]["signature"] for record in found if record["teacher"]}) == 1


def test_named_sweeps_are_found_from_any_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("--cfg", "hydra", "-p", "hydra.sweeper", "+sweeps=cmd_noise_symmetric", tiny=False)
    assert answer.code == 0 and "cmd_p" in answer.out


def test_a_run_writes_only_below_its_results(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cli(f"paths.results={tmp_path / 'kept'}").code == 0
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "kept"}


def test_a_report_that_fails_is_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sweep came to is told all the same, with the command for the whole report."""

    def fails(*arguments: object) -> list[str]:
        raise ZeroDivisionError("no table")

    monkeypatch.setattr("kd_experiments.reporting.study.compact_of", fails)
    results = tmp_path / "of two words"
    answer = cli("--multirun", "method=none", "seed=0", f"paths.results={results}")
    assert answer.code == 0 and "sweep of 1 runs: 1 done" in answer.out and "Traceback" not in answer.out + answer.err
    (log,) = results.glob("multirun/*/report.log")
    assert f"the table failed: ZeroDivisionError: no table (log: {log})\n" in answer.out
    assert answer.out.endswith(f"full report: python -m kd_experiments.reporting 'paths.results={results}'\n")
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_nobody_reads_on(arguments: list[str]) -> None:
    """`| head` ends a command silently."""
    command = f"{shlex.join([sys.executable, '-m', 'kd_experiments', *arguments])} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_method_file_without_a_head(tmp_path: Path) -> None:
    """The user's own may have none; what is known of it is told."""
    (tmp_path / "mine.yaml").write_text("# Mine.\nmethod: {weight: 2}\n")
    found = read_method(tmp_path / "mine.yaml")
    assert (found.name, found.title, found.evidence) == ("mine", "mine", "[ours]")


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['kd_experiments', '--help']; from kd_experiments.__main__ import main; "
        "assert main() == 0; assert 'torch' not in sys.modules and 'hydra' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for word in ("method=lrds selection.ratio=0.8", "label_noise", "wrn_40_2", "Lan et al.", "[ours]"):
        assert word in shown
    assert shown.count("python -m kd_experiments") >= 5


def test_printing_the_configuration_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['kd_experiments', '--cfg', 'job']; from kd_experiments.__main__ import main; "
        "assert main() == 0; assert 'torch' not in sys.modules"
    )
    assert "method:" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

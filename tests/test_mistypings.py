"""What people type out of habit is answered with what to type; what is right passes."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from kd_experiments.__main__ import main
from kd_experiments.cli.choices import SCRIPT, candidates
from kd_experiments.cli.mistypings import refuse
from kd_experiments.errors import UserError
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("temperature=2", "type temperature.value=2"),
        ("selection=0.8", "type selection=influence selection.ratio=0.8"),
        ("label_noise=.4", "type label_noise=symmetric label_noise.rate=.4"),
        ("temperature=2,4", "type temperature.value=2,4"),
        ("temperature=.5", "type temperature.value=.5"),
        ("+epochs=3", "type recipe.epochs=3"),
        ("label_noise=0.4", "type label_noise=symmetric label_noise.rate=0.4"),
        ("recipe=5", "type recipe.epochs=5"),
        ("teacher=20", "did you mean teacher=resnet20?"),
        ("student=999", "expected the name of a network (--help"),
        ("seed=0-4", "type --multirun 'seed=range(0,5)'"),
        ("seed=1..3", "type --multirun 'seed=range(1,4)'"),
        ("teacher.seed=0-1", "type --multirun 'teacher.seed=range(0,2)'"),
        ("gpu=0", "CUDA_VISIBLE_DEVICES=0"),
        ("device=cuda:1", "type device=cuda; which GPU is said by the variable CUDA_VISIBLE_DEVICES=1"),
        ("device=gpu", "type device=cuda"),
        ("wandb=false", "type tracking.mode=disabled"),
        ("tracking=off", "type tracking.mode=disabled"),
        ("wandb=online", "type tracking.mode=online"),
        ("epochs=3", "type recipe.epochs=3"),
        ("lr=0.1", "type recipe.lr=0.1"),
        ("kd", "did you mean method=kd?"),
        ("method", "type method=CHOICE"),
        ("help", "type --help"),
        ("--epochs 3", "type recipe.epochs=3"),
        ("--epochs=3", "type recipe.epochs=3"),
        ("--method kd", "type method=kd"),
        ("--seed", "type seed=VALUE"),
        ("--resume", "the same command again goes on"),
        ("--gpu 1", "CUDA_VISIBLE_DEVICES=1"),
        ("--mulitrun seed=0,1", "did you mean --multirun?"),
        ("--frobnicate", "no such flag; --help"),
        ("dataset=100", "no such choice (choices: cifar10, cifar100"),
        ("method=1", "no such choice"),
        ("revision=true", "no such choice"),
        ("method={a:1}", "type method=CHOICE, and other values one by one: method.KEY=VALUE"),
        ("=3", "type KEY=3"),
    ],
)
def test_habits_are_answered(typed: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        refuse(shlex.split(typed))
    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).lstrip("-").startswith(shlex.split(typed)[0].split("=")[0].lstrip("-"))


@pytest.mark.parametrize(
    "typed",
    [
        "method=kd seed=0",
        "--multirun method=none,kd seed=0,1",
        "-m +sweeps=lrds_ratio",
        "--cfg job",
        "--cfg hydra -p hydra.sweeper",
        "--signature method=kd",
        "temperature=dtd_flsw temperature.value=2",
        "device=cuda threads=1",
        "~tracking",
        "'seed=range(0,5)' -m",
        "recipe.epochs=3",
    ],
)
def test_what_is_right_passes(typed: str) -> None:
    refuse(shlex.split(typed))


def test_the_command_line_says_it(cli: Cli) -> None:
    answer = cli("--epochs", "3")
    assert answer.code == 2 and answer.err == "error: --epochs: values are typed without dashes; type recipe.epochs=3\n"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("recipe.lr='0.1", "cannot be read as key=value"),
        ("recipe.milestones=[10;20]", "cannot be read as key=value"),
        ("method = kd", "cannot be read as key=value"),
        ("method=kd)", "cannot be read as key=value"),
        ("recipe.lr=[", "cannot be read as key=value"),
        ("seed=range(0,5)", "several values; add --multirun"),
        ("recipe.lr=0.1,0.2", "several values; add --multirun"),
    ],
)
def test_what_the_grammar_refuses_is_one_sentence(cli: Cli, typed: str, words: str) -> None:
    answer = cli(typed)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert answer.err.startswith(f"error: {typed}: ") and words in answer.err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("meth", ["method="]),
        ("method=lrd", ["method=lrds"]),
        ("method=kd,lrd", ["method=kd,lrds"]),
        ("teacher=wrn_40", ["teacher=wrn_40_1", "teacher=wrn_40_2"]),
        ("--mult", ["--multirun"]),
        ("hydra/launcher=slurm", ["hydra/launcher=slurm_cpu", "hydra/launcher=slurm_gpu"]),
        ("nothing=x", []),
    ],
)
def test_candidates(word: str, expected: list[str]) -> None:
    assert candidates(word) == expected


def test_a_half_typed_word_is_no_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["kd_experiments", "--complete", "imports=[nothing"])
    assert main() == 0 and capsys.readouterr() == ("\n", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("shell", "line", "reply"),
    [
        ("", "kd-experiments meth", "method="),
        ("", "kd-experiments seed=1 method=lrd", "lrds"),
        ("ZSH_VERSION=5; autoload() { :; }; compinit() { :; }; bashcompinit() { :; }", "kd-experiments method=lrd",
         "method=lrds"),
    ],
)  # fmt: skip
def test_shells_complete(shell: str, line: str, reply: str) -> None:
    """The script as bash runs it, with the candidates of this process; zsh, played by bash, wants whole words."""
    word = line.rsplit(" ", 1)[1]
    answers = "\n".join(candidates(word))
    script = f"""{shell}
{SCRIPT}
kd-experiments() {{ [ "$1 $2" = "--complete {word}" ] && echo "{answers}"; }}
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
_kd_experiments
echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == reply and not done.stderr

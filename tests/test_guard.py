"""Configurations from strangers: nothing is called that is not ours, and no file takes all memory to read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kd_experiments import own_code
from kd_experiments.cli import guard
from kd_experiments.errors import UserError
from tests.conftest import Cli

MAKES = "{_target_:os.makedirs,name:HERE,exist_ok:true}"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"+hydra.callbacks.x={MAKES}"],
        ["+hydra.callbacks.x={_target_:builtins.open,file:HERE,mode:w}"],
        ["+hydra.callbacks.x={_target_:kd_experiments.sweeping.callback.SweepReport,a:" + MAKES + "}"],
        ["+hydra.callbacks.x={a:[[" + MAKES + "]]}"],
        ["+hydra.callbacks.x={_target_:'${evil}'}", "+evil=os.makedirs"],
        ["+hydra.callbacks.x={_target_:'${missing}'}"],
        ["+hydra.callbacks.x='${oc.create:\"{_target_: os.makedirs, name: HERE}\"}'"],
        ["+hydra.callbacks.x='${oc.decode:${text}}'", "+text='{_target_: os.makedirs, name: HERE}'"],
        ["hydra.launcher._target_=os.makedirs", "+hydra.launcher.name=HERE", "--multirun"],
        ["hydra.sweeper._target_=os.makedirs", "+hydra.sweeper.name=HERE", "--multirun"],
        [f"+hydra.callbacks.x={MAKES}", "--multirun", "seed=0,1"],
        [f"+hydra.callbacks.x={MAKES}", "--cfg", "job"],
        [f"+dataset.x={MAKES}"],
        ["hydra/job_logging=default"],
        ["+hydra.job_logging.handlers.x={class:logging.FileHandler,filename:HERE}"],
        ["+hydra.job_logging.handlers.x={'()':os.makedirs,name:HERE}"],
        ["+hydra.hydra_logging.handlers.x={class:logging.StreamHandler,stream:'ext://antigravity.x'}"],
        ["hydra.searchpath=[pkg://antigravity]"],
        ["hydra.job_logging='${hydra:callbacks.x}'", "+hydra.callbacks.x.handlers.y={class:logging.FileHandler}"],
        ["+hydra.callbacks.x='${oc.${hydra:job.num}:HERE}'"],
        ["+hydra.callbacks.x='${oc.decode:${text}}'", "+text='[{_target_: os.makedirs, name: HERE}]'"],
        ["--multirun", "hydra.sweeper.params={+imports:'[HERE]'}"],
        ["--multirun", "hydra.sweeper.params={hydra/launcher:parallel}"],
    ],
    ids=str,
)
def test_nothing_strange_is_called(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    here = tmp_path / "outside"
    answer = cli(*(argument.replace("HERE", str(here)) for argument in arguments))
    assert answer.code == 2 and answer.err.startswith("error: ") and answer.err.count("\n") == 1, answer.err
    assert not here.exists()


def test_a_job_before_lends_no_values(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${hydra:...}` is what the job is that this process composed last."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"callbacks": {"x": {"root": {}}}}}))
    answer = cli("hydra.job_logging='${hydra:callbacks.x}'")
    assert answer.code == 2 and "refused, nobody can tell yet what that is" in answer.err, answer.err


def experiment(folder: Path, text: str) -> str:
    """An experiment file of a stranger; returns the folder to give as --config-dir."""
    path = folder / "theirs" / "experiment" / "x.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text if "@package" in text else "# @package _global_\n" + text)
    return str(folder / "theirs")


TEXTS = {
    "imports": "imports: [HERE]\n",
    "factory": "student:\n  network: os.getcwd\n",
    "target": "hydra:\n  callbacks:\n    x: {_target_: os.makedirs, name: HERE}\n",
    "logging": "hydra:\n  job_logging:\n    handlers: {x: {class: logging.FileHandler, filename: HERE}}\n",
    "searched": "hydra:\n  sweeper:\n    custom_search_space: os.makedirs\n",
    "environment": "hydra:\n  job:\n    env_set: {KD_EXPERIMENTS_IMPORTS: HERE}\n",
    "copied environment": "hydra:\n  job:\n    env_copy: [HOME]\n",
    "mode": "hydra:\n  mode: MULTIRUN\n",
    "swept code": "hydra:\n  sweeper:\n    params: {imports.0: HERE}\n",
    "swept folder": "hydra:\n  sweeper:\n    params: {++hydra.run.dir: HERE}\n",
    "searched code": "hydra:\n  sweeper:\n    search_space: {imports: HERE}\n",
    "many": "hydra:\n  sweeper:\n    params: {seed: 'range(0,1e12)'}\n",
    "folder": "hydra:\n  run:\n    dir: HERE\n",
    "folder of a sweep": "hydra:\n  sweep:\n    subdir: ../../outside\n",
    "output": "hydra:\n  output_subdir: HERE\n",
    "another folder": "hydra:\n  job:\n    chdir: true\n",
    "storage": "hydra:\n  sweeper:\n    storage: sqlite:///HERE\n",
    "set up": "hydra:\n  launcher:\n    setup: [touch HERE]\n",
    "package": "# @package hydra.job.env_set\nKD_EXPERIMENTS_IMPORTS: HERE\n",
    "launcher": "defaults:\n  - override /hydra/launcher: parallel\n",
    "beside the sweeper": "defaults:\n  - /hydra/sweeper/basic\n",
    "interpolated": "hydra: ${x}\nx: {mode: MULTIRUN}\n",
    "no sweeper": "hydra:\n  sweeper: null\n",
    "python tag": "seed: !!python/object/apply:os.makedirs [HERE]\n",
    "duplicate key": "seed: 1\nseed: 2\n",
    "tabs": "recipe:\n\tlr: 1\n",
    "deep": "seed: " + "[" * 3000 + "]" * 3000 + "\n",
    "self": "seed: &a [*a]\n",
    "bomb": "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
    "large": "# " + "x" * (2 << 20) + "\n",
    "binary": "seed: \0\n",
    "list": "- 1\n- 2\n",
    "text": "hello\n",
}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, ["experiment=x"]) for name in TEXTS if name != "many"),
        *((name, ["--multirun", "experiment=x,small/digits"]) for name in ("target", "logging", "python tag", "bomb")),
        *((name, ["--multirun", "experiment=x"]) for name in ("swept code", "swept folder", "many", "package", "mode")),
    ],
)
def test_an_experiment_file_of_a_stranger(cli: Cli, tmp_path: Path, name: str, more: list[str]) -> None:
    here = tmp_path / "outside"
    folder = experiment(tmp_path, TEXTS[name].replace("HERE", str(here)))
    answer = cli("--config-dir", folder, *more)
    assert answer.code == 2 and answer.err.startswith("error: ") and answer.err.count("\n") == 1, answer.err
    assert not here.exists()


@pytest.mark.parametrize("typed", [[], ["hydra/launcher=mine"]])
def test_a_launcher_of_a_stranger(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str]) -> None:
    """Not from a folder that was only searched, even where it has the name of Hydra's own; from one's own package."""
    package = tmp_path / f"mine_{len(typed)}"
    folder = package / "conf" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / f"{'mine' if typed else 'basic'}.yaml").write_text(
        "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
    )
    answer = cli("--config-dir", str(package / "conf"), *typed)
    assert answer.code == 2 and "hydra.launcher: refused" in answer.err and answer.err.count("\n") == 1, answer.err
    (package / "__init__.py").touch()
    monkeypatch.setenv(own_code.VARIABLE, "")
    monkeypatch.setattr(own_code, "_loaded", dict(own_code._loaded))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli(f"imports=[{package}]", *typed, "--cfg", "job").code == 0


def test_what_is_typed_is_the_user_s_word(cli: Cli, tmp_path: Path) -> None:
    assert cli("hydra.sweep.dir=/elsewhere", "+hydra.job.env_set.X=1", "hydra.job.chdir=true", "--cfg", "job").code == 0


def test_what_a_plain_file_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "fine.yaml"
    path.write_text("base: &base {lr: 0.1}\nrecipe:\n  <<: *base\n  epochs: 3\n")
    guard.refuse_yaml(str(path))
    path.write_text("a: [1")
    with pytest.raises(UserError, match=r"fine.yaml: no plain YAML in line 1 .*; correct the file"):
        guard.refuse_yaml(str(path))

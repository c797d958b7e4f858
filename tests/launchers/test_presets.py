"""The launcher presets: what they ask for, and one clear line where they cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from kd_experiments.cli.composing import composer
from kd_experiments.cli.hydra_errors import EXTRAS, of_launcher
from kd_experiments.places import home
from tests.conftest import Cli

PRESETS = {
    "slurm_cpu": "submitit_slurm",
    "slurm_gpu": "submitit_slurm",
    "parallel": "joblib",
    "gpu_shared": "joblib",
    "ray_local": "ray",
}


def _installed(launcher: str) -> bool:
    Plugins.instance()
    return f"{launcher}.yaml" in ConfigStore.instance().repo["hydra"]["launcher"]


def _launcher(name: str) -> dict[str, Any]:
    if not _installed(PRESETS.get(name, name)):
        pytest.skip(f"needs the plugin of hydra/launcher={PRESETS.get(name, name)}")
    with composer():
        config = compose("config", [f"hydra/launcher={name}", "paths.results=here"], return_hydra_config=True)
    config.hydra.job.num = 0
    content = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def test_every_preset_is_known_here() -> None:
    assert {path.stem for path in (home() / "conf/hydra/launcher").glob("*.yaml")} == set(PRESETS)


@pytest.mark.parametrize(
    "name", [*PRESETS, *(key.rsplit("/", 1)[1] for key in EXTRAS if key.startswith("hydra/launcher/"))]
)
def test_presets_and_plain_launchers_compose(name: str) -> None:
    assert _launcher(name)["_target_"].startswith("hydra_plugins.")


@pytest.mark.parametrize(("name", "gpus"), [("slurm_cpu", None), ("slurm_gpu", 1)])
def test_slurm_starts_a_run_again_and_keeps_its_files_with_the_results(name: str, gpus: int | None) -> None:
    launcher = _launcher(name)
    assert launcher["gpus_per_node"] == gpus
    assert launcher["additional_parameters"] == {"requeue": True}
    assert launcher["max_num_timeout"] > 0
    assert Path(launcher["submitit_folder"]).parts[:2] == ("here", "multirun")


@pytest.mark.parametrize(
    ("group", "choice", "plugin"),
    [*(("launcher", preset, plugin) for preset, plugin in PRESETS.items()), ("sweeper", "tune", "optuna")],
)
def test_a_plugin_that_is_not_installed_is_told_in_one_line(
    group: str, choice: str, plugin: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plugins.instance()
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][group], f"{plugin}.yaml", raising=False)
    extra = EXTRAS[f"hydra/{group}/{plugin}"]
    for typed in (choice, plugin):
        answer = cli("--multirun", f"hydra/{group}={typed}", "seed=0,1")
        assert answer.code == 2
        assert answer.err == (
            f"error: hydra/{group}={typed}: its plugin is not installed; type: pip install 'kd_experiments[{extra}]'\n"
        )


def test_a_machine_without_slurm_is_told_in_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _installed("submitit_slurm"):
        pytest.skip("needs hydra-submitit-launcher")
    monkeypatch.setenv("PATH", "/nowhere")
    answer = cli("--multirun", "hydra/launcher=slurm_cpu", "seed=0,1")
    assert answer.code == 2
    assert answer.err == (
        "error: SLURM's commands are not found here; launch the sweep on a machine of the cluster where sbatch works\n"
    )


def test_errors_of_the_engines_and_no_others_are_explained() -> None:
    refused = type("FailedJobError", (Exception,), {})
    lost = type("TerminatedWorkerError", (Exception,), {})
    assert of_launcher(refused("sbatch: error: invalid partition\n")) == (
        "SLURM does not take the jobs: sbatch: error: invalid partition"
    )
    assert of_launcher(refused("Job (task=0) failed during processing with trace:\n...")) is None
    assert "ray start --head" in str(of_launcher(ConnectionError("Could not find any running Ray instance.")))
    assert of_launcher(ConnectionError("Connection refused")) is None
    assert "killed" in str(of_launcher(lost("A worker process managed by the executor was unexpectedly terminated.")))
    assert of_launcher(ValueError("our own")) is None

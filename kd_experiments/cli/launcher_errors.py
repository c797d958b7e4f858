"""What is wrong when a plugin is missing, or SLURM, Ray or joblib cannot start the jobs of a sweep or lose one."""

from __future__ import annotations

from collections.abc import Sequence

# What a plugin of Hydra offers -> the extra of this package that installs the plugin.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/ray_aws": "ray",
    "hydra/sweeper/optuna": "tune",
}

# By name, since their libraries may not be installed.
_LOST = ("UncompletedJobError", "TerminatedWorkerError", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError")


def not_installed(group: str, choice: str, arguments: Sequence[str]) -> str:
    """The plugin of this choice is missing; what the user typed may have been a preset made of it."""
    typed = [argument for argument in arguments if argument.startswith(f"{group}=")]
    return (
        f"{typed[-1] if typed else f'{group}={choice}'}: its plugin is not installed; "
        f"type: pip install 'kd_experiments[{EXTRAS[f'{group}/{choice}']}]'"
    )


def explain(error: BaseException) -> str | None:
    """What is wrong, or None for an error that no launcher has raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    if isinstance(error, RuntimeError) and lines and 'Could not detect "srun"' in lines[0]:
        return "SLURM's commands are not found here; launch the sweep on a machine of the cluster where sbatch works"
    if kind == "FailedJobError" and lines and lines[0].startswith("sbatch:"):
        return f"SLURM does not take the jobs: {'; '.join(lines)}"
    if isinstance(error, ConnectionError) and "Ray" in str(error):
        return (
            "hydra.launcher.ray.init.address: no Ray there that lets us in; start one with: ray start --head, "
            "and give its token in RAY_AUTH_TOKEN where it asks for one"
        )
    if kind in _LOST:
        return f"a process was killed, perhaps for lack of memory: {lines[0] if lines else kind}"
    return None

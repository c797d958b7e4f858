"""The records of runs that were sent to Weights & Biases, read back through its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.tracking.record import Record, as_record
from kd_experiments.tracking.wandb_run import CONFIG_BESIDES, RECORD


def project_records(entity: str | None, project: str) -> tuple[list[Record], list[str], str]:
    """The records of a project, a sentence for each that cannot be read, and the project's address.

    They come in the order in which they were sent. `UserError` where there is no login, connection or such project.
    """
    import wandb

    login = wandb.errors.UsageError, wandb.errors.AuthenticationError
    try:
        api = wandb.Api(timeout=30)
        place = f"{entity or api.default_entity}/{project}"
        found = [(run.id, run.config) for run in api.runs(place, lazy=False, per_page=200)]
    except (wandb.errors.Error, ValueError) as error:  # ValueError: no such project
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        what = "log in with: wandb login; then" if isinstance(error, login) else "check the connection, and"
        raise UserError(
            f"source=wandb: {entity or 'your'} {project} cannot be read: {reason}; {what} "
            "give entity=ENTITY project=PROJECT as in the project's address"
        ) from error
    records, complaints = [], []
    for name, config in found:
        try:
            records.append(record_of(config, f"{place}/{name}"))
        except UserError as error:
            complaints.append(str(error))
    return records, complaints, place


def record_of(config: Mapping[str, Any], where: str) -> Record:
    """The record of a run from its W&B config; `UserError` for a run that is not of this program, or has not ended."""
    kept = config.get(RECORD)
    if not isinstance(kept, Mapping):
        raise UserError(f"{where}: not a run of this program, or not ended")
    own = {key: value for key, value in config.items() if key not in CONFIG_BESIDES}
    return as_record({**kept, "config": own}, where)

"""The frame of runs that were sent to Weights & Biases, read back through its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from kd_experiments.errors import UserError
from kd_experiments.reporting.frame import frame_of, row_of
from kd_experiments.tracking.record import Record, as_record
from kd_experiments.tracking.wandb_run import CONFIG_BESIDES, RECORD

PAGE = 200  # runs asked for at a time
TIMEOUT = 30  # seconds that the server has to answer


def project_runs(entity: str | None, project: str) -> tuple[pd.DataFrame, str]:
    """The frame of a project and its address; `UserError` where there is no login, no connection or no such project.

    Of a run that was repeated the one that was sent last counts.
    """
    import wandb

    try:
        api = wandb.Api(timeout=TIMEOUT)
        place = f"{entity or api.default_entity}/{project}"
        found = [(run.id, run.config) for run in api.runs(place, lazy=False, per_page=PAGE)]
    except wandb.errors.UsageError as error:
        raise UserError("source=wandb: not logged in to Weights & Biases; log in with: wandb login") from error
    except wandb.errors.AuthenticationError as error:
        raise UserError(
            f"source=wandb: {_sentence(error)}; check the connection, and log in with: wandb login"
        ) from error
    except (wandb.errors.CommError, wandb.errors.Error) as error:
        raise UserError(f"source=wandb: {place} could not be read: {_sentence(error)}") from error
    except ValueError as error:  # what the SDK raises for a project that is not there
        raise UserError(
            f"source=wandb: {_sentence(error)} of {place}; give entity=ENTITY project=PROJECT as in its address"
        ) from error
    rows, complaints = [], []
    for name, config in found:
        try:
            rows.append(row_of(record_of(config, f"{place}/{name}")))
        except UserError as error:
            complaints.append(str(error))
    return frame_of(rows, complaints), place


def record_of(config: Mapping[str, Any], where: str) -> Record:
    """The record of a run from its W&B config; `UserError` for a run that is not of this program, or has not ended."""
    kept = config.get(RECORD)
    if not isinstance(kept, Mapping):
        raise UserError(f"{where}: not a run of this program, or not ended")
    own = {key: value for key, value in config.items() if key not in CONFIG_BESIDES}
    return as_record({**kept, "config": own}, where)


def _sentence(error: Exception) -> str:
    """The first line of a message, without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

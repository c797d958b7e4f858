"""Records of runs that were sent to Weights & Biases, read back through its API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.reporting.records import Records, collect
from kd_experiments.tracking.wandb_run import CONFIG_BESIDES, RECORD

PAGE = 200  # runs asked for at a time
TIMEOUT = 30  # seconds that the server has to answer


def read_project(entity: str | None, project: str) -> tuple[Records, str]:
    """Runs of a project and its address; `UserError` where there is no login, no connection or no such project.

    Of a run that was repeated the one that was sent last counts.
    """
    import wandb

    try:
        api = wandb.Api(timeout=TIMEOUT)
        place = f"{entity or api.default_entity}/{project}"
        records = dict(_records(api.runs(place, lazy=False, per_page=PAGE), place))
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
    return collect(records.items()), place


def as_record(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record of a run from its W&B config; None for a run that is not of this program, or has not ended."""
    kept = config.get(RECORD)
    if not isinstance(kept, Mapping):
        return None
    return {**kept, "config": {key: value for key, value in config.items() if key not in CONFIG_BESIDES}}


def _records(runs: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """By address of the run, or of the first of its repetitions; later ones take its place."""
    for run in runs:
        record = as_record(run.config)
        yield f"{place}/{run.id if record is None else record.get('signature', run.id)}", record


def _sentence(error: Exception) -> str:
    """The first line of a message, without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

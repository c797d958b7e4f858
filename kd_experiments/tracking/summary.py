"""The few lines a person reads at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def summary_lines(record: Mapping[str, Any], record_file: Path) -> list[str]:
    """What was done, what came out, where it is and what to try next; from the record alone."""
    config, metrics = record["config"], record["metrics"]
    method, dataset = config["method"]["name"], config["dataset"]["name"]
    plug_in = config.get("plug_in", "none")  # older records have none
    what = method if plug_in == "none" else f"{method} + {plug_in}"
    lines = ["", f"{what} on {dataset}, seed {record['seed']}, run {record['signature']}"]
    lines += _data(record)
    lines += _teacher(record)
    student = record["student"]
    lines.append(
        f"  student    {student['network']} ({student['parameters']:,} parameters): "
        f"test {metrics['test_top1_last']:.2f} % at the last epoch; "
        f"{metrics['test_top1_best_val']:.2f} % at the epoch best on val; "
        f"{metrics['test_top1_best_test']:.2f} % at the best test epoch (optimistic)"
    )
    if "peer_test_top1_last" in metrics:
        lines.append(
            f"  peer       {config['peer']['network']}: test {metrics['peer_test_top1_last']:.2f} % at the last epoch; "
            f"mean of both {metrics['mean_test_top1_last']:.2f} %"
        )
    calibration = f"  quality    NLL {metrics['test_nll_last']:.3f}, ECE {metrics['test_ece_last']:.1f} %"
    if "test_agreement_last" in metrics:
        calibration += (
            f"; agrees with the teacher on {metrics['test_agreement_last']:.1f} %, "
            f"repeats {metrics['test_inherited_errors_last']:.1f} % of its mistakes"
        )
    lines.append(calibration)
    timing = record["timing"]
    lines.append(
        f"  time       {timing['train_seconds']:.1f} s of training, {timing['images_per_second']:.0f} images/s"
    )
    lines.append(f"  record     {record_file}")
    lines += _try_next(config)
    return lines


def _data(record: Mapping[str, Any]) -> list[str]:
    data = record["data"]
    noise = f", {data['noisy_labels']} of the training labels wrong on purpose" if data["noisy_labels"] else ""
    return [f"  data       {data['train']} training, {data['val']} validation, {data['test']} test images{noise}"]


def _teacher(record: Mapping[str, Any]) -> list[str]:
    teacher = record["teacher"]
    if teacher is None:
        return []
    lines = [
        f"  teacher    {teacher['network']} ({teacher['parameters']:,} parameters): test {teacher['test_top1']:.2f} %; "
        f"wrong on {teacher['train_wrong']} of the {teacher['train_size']} training images"
    ]
    if "selection" in record:
        chosen = record["selection"]
        lines.append(
            f"  selected   {chosen['selected']} of {chosen['of']} images to be taught ({chosen['share']:.0%}), "
            f"by {chosen['strategy']}"
        )
    revision = record["revision"]
    if revision["name"] != "none":
        lines.append(f"  revised    {revision['revised']} of the teacher's wrong predictions, by {revision['name']}")
    return lines


def _try_next(config: Mapping[str, Any]) -> list[str]:
    dataset = "" if config["dataset"]["name"] == "digits" else f" dataset={config['dataset']['name']}"
    return [
        f"  try next   python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2{dataset}",
        "             python -m kd_experiments.reporting    # the tables of all runs",
    ]

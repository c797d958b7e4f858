"""The few lines a person reads at the end of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.tracking.record import Record


def already_done(record: Record, record_file: Path, changed: Sequence[str]) -> str:
    """One line: nothing is done again; and which of the code it was made with has changed since."""
    if not changed:
        return f"already done: {record_file} (rerun=true repeats it)"
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return f"already done, but with other code: {named} changed since; rerun=true repeats it ({record_file})"


def summary_lines(record: Record, record_file: Path) -> list[str]:
    """What was done, what came out, where it is and what to try next; from the record alone."""
    label, metrics, student = record.label, record.metrics, record.student
    lines = ["", f"{label.method} on {label.stage}, {label.seeds}, run {record.signature}"]
    if record.status == "diverged":
        return [*lines, f"  diverged   {record.error}", f"  record     {record_file}"]
    assert student is not None, "a complete run has a student"
    lines += _data(record) + _teacher(record)
    lines.append(
        f"  student    {student.network} ({student.parameters:,} parameters): "
        f"test {metrics['test_top1_last']:.2f} % at the last epoch; "
        f"{metrics['test_top1_best_val']:.2f} % at the epoch best on val; "
        f"{metrics['test_top1_best_test']:.2f} % at the best test epoch (optimistic)"
    )
    if "peer_test_top1_last" in metrics:
        lines.append(
            f"  peer       {record.config['peer']['network']}: test {metrics['peer_test_top1_last']:.2f} % at the last "
            f"epoch; mean of both {metrics['mean_test_top1_last']:.2f} %"
        )
    if "exploded_epoch" in metrics:
        lines.append(
            f"  warning    the loss exploded in epoch {metrics['exploded_epoch']:.0f}: such figures say nothing of the "
            f"method; try a lower recipe.lr than {record.config['recipe']['lr']:g}, or recipe.clip_norm=1"
        )
    calibration = f"  quality    NLL {metrics['test_nll_last']:.3f}, ECE {metrics['test_ece_last']:.1f} %"
    if "test_agreement_last" in metrics:
        calibration += (
            f"; agrees with the teacher on {metrics['test_agreement_last']:.1f} %, "
            f"repeats {metrics['test_inherited_errors_last']:.1f} % of its mistakes"
        )
    lines.append(calibration)
    timing = record.timing
    lines.append(
        f"  time       {timing['train_seconds']:.1f} s of training, {timing['images_per_second']:.0f} images/s"
        f"{_faster(record)}"
    )
    lines.append(f"  record     {record_file}")
    return lines + _try_next(record)


def _faster(record: Record) -> str:
    """Another number format, where the processor has one and the run did not say which it wants."""
    there = record.machine.device == "cpu" and record.machine.capability.endswith("+BF16")
    asked = record.config["precision"] != "auto"
    return "; this CPU has bfloat16 too, often much faster: precision=bfloat16" if there and not asked else ""


def _data(record: Record) -> list[str]:
    data = record.data
    assert data is not None, "a complete run has data"
    noise = f", {data.noisy_labels} of the training labels wrong on purpose" if data.noisy_labels else ""
    return [f"  data       {data.train} training, {data.val} validation, {data.test} test images{noise}"]


def _teacher(record: Record) -> list[str]:
    teacher, chosen, revision = record.teacher, record.selection, record.revision
    lines = []
    if teacher is not None:
        lines.append(
            f"  teacher    {teacher.network} ({teacher.parameters:,} parameters): test {teacher.test_top1:.2f} %; "
            f"wrong on {teacher.train_wrong} of the {teacher.train_size} training images"
        )
        if teacher.seen_val is not False:
            said = "may have been" if teacher.seen_val == "unknown" else "was"
            lines.append(
                f"  caution    the checkpoint {said} trained on the images held out as val: its figures on val, and "
                f"selection scores that use val, are then fits of seen data (teacher.seen_val=true or false says which)"
            )
    if chosen is not None:
        lines.append(
            f"  selected   {chosen.selected} of {chosen.of} images to be taught ({chosen.share:.0%}), "
            f"by {chosen.strategy}"
        )
    if revision is not None and revision.name != "none":
        lines.append(f"  revised    {revision.revised} of the teacher's wrong predictions, by {revision.name}")
    return lines


def _try_next(record: Record) -> list[str]:
    """A comparison on the same data and networks: what was typed, but for the method with its parts and the seed."""
    own = (
        "method",
        "plug_in",
        "revision",
        "selection",
        "weighting",
        "temperature",
        "label_loss",
        "seed",
        "rerun",
        "+sweeps",
    )
    kept = [word for word in record.typed if word.split("=")[0].split(".")[0] not in own]
    methods = ",".join(dict.fromkeys(("none", "kd", record.config["method"]["name"])))
    command = shlex.join(["python", "-m", "kd_experiments", "--multirun", f"method={methods}", "seed=0,1,2", *kept])
    return [f"  try next   {command}"]

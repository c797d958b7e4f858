"""Records that no network was trained for, laid out as real runs leave them; the same arguments give the same bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kd_experiments import files
from kd_experiments.sweeping.definitions import outline
from kd_experiments.tracking.record import SCHEMA

METHODS = ("none", "kd", "lrds", "dkd", "dist", "btkd", "la_dtd", "at", "fitnet", "crd", "dml", "reviewkd")
PAIRS = (("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"), ("resnet32x4", "resnet8x4"), ("vgg13", "vgg8"))
DATASETS = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}
NOISES = (None, 0.2, 0.4)
LENGTHS = (20, 60, 120, 240)
EPOCHS_SHOWN = 20


def record(
    method: str = "kd", seed: int = 0, top1: float | None = None, teacher_seed: int = 0, *, dataset: str = "digits",
    pair: tuple[str, str] = ("resnet20", "resnet8"), noise: float | None = None, epochs: int = 20,
    status: str = "complete", sweep: str | None = None, typed: tuple[str, ...] = (),
    values: Mapping[str, Any] | None = None, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """One record of schema 2. `values` are dotted keys of the method's parts; `changes` replace parts of the record."""
    name, values = method.split(" ")[0], dict(values or {})
    taught = name not in ("none", "dml")
    rng = random.Random(repr((method, seed, teacher_seed, dataset, pair, noise, epochs)))
    top1 = rng.gauss(90 + len(method) % 5, 0.4) if top1 is None else top1
    classes, noisy = DATASETS.get(dataset, 10), noise is not None
    identity: dict[str, Any] = {
        "seed": seed, "dataset": {"name": dataset, "train_size": None, "split_seed": 0},
        "label_noise": {"name": "symmetric", "rate": noise, "seed": 0} if noisy else {"name": "none"},
        "student": {"network": pair[1]},
        "recipe": {"epochs": epochs, "batch_size": 64, "lr": 0.1, "milestones": [10, 15]},
        "method": {"distiller": name, "weight": 1.0}, "precision": "float32", "version": 2,
    }  # fmt: skip
    for key, value in values.items():
        group, _, last = key.rpartition(".")
        identity.setdefault(group, {})[last] = value
    if taught:
        identity["teacher"] = {"network": pair[0], "seed": teacher_seed, "checkpoint": None, "recipe": {"epochs": 12}}
    seeds = ["dataset.split_seed=0", *(["label_noise.seed=0"] if noisy else []), f"seed={seed}"]
    seeds += [f"teacher.seed={teacher_seed}"] * taught
    stage = ", ".join([dataset, *([f"symmetric rate={noise}"] if noisy else []), pair[1], f"small_20 epochs={epochs}"])
    teacher = None
    if taught:
        gap = random.Random(f"{dataset} {pair} {teacher_seed}").gauss(0, 0.3)
        teacher = {
            "signature": "", "network": pair[0], "parameters": 272_186, "seed": teacher_seed, "checkpoint": None,
            "seen_val": False, "stated_accuracy": None, "train_size": 1145, "train_wrong": 5 + teacher_seed,
            "train_seconds": 9.0,
            "train_top1": 99.5, "train_top5": 100.0, "train_nll": 0.1, "train_ece": 0.5, "val_top1": 98.0,
            "val_top5": 100.0, "val_nll": 0.1, "val_ece": 1.0, "test_top1": 95.0 + gap, "test_top5": 99.0,
            "test_nll": 0.2, "test_ece": 1.0,
        }  # fmt: skip
    metrics = {
        "loss_last": 0.3, "val_top1_last": top1 - 0.5, "test_top1_last": top1, "test_top5_last": min(100.0, top1 + 6),
        "test_nll_last": (100 - top1) / 30, "test_ece_last": rng.uniform(1, 6), "train_top1_last": min(100.0, top1 + 4),
        "test_top1_best_val": top1 - 0.2, "test_top1_best_test": top1 + 0.3, "best_val_epoch": epochs - 1.0,
    }  # fmt: skip
    if taught:
        metrics |= {"test_agreement_last": rng.uniform(80, 95), "test_inherited_errors_last": rng.uniform(40, 80)}
    if noisy:
        metrics |= {"clean_fit_last": top1 + 1, "wrong_fit_last": rng.uniform(2, 9), "correction_last": top1 - 8}
    made = {
        "schema": SCHEMA, "signature": _digest([identity, method]), "teacher_signature": None,
        "label": {"method": method, "stage": stage, "teacher": f"{pair[0]} (small_12)" if taught else None,
                  "replicate": ", ".join(seeds)},
        "typed": list(typed), "sweep": sweep, "status": status, "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:10:00+00:00",
        "config": {**identity, "method": {**identity["method"], "name": name},
                   "teacher": identity.get("teacher", {"seed": 0})},
        "identity": identity,
        "data": {"train": 1145, "val": 202, "test": 450, "classes": classes, "noisy_labels": 0, "noise_share": 0.0,
                 "content": None},
        "teacher": teacher, "selection": None, "revision": None,
        "student": {"network": pair[1], "parameters": 77_754},
        "metrics": metrics,
        "timing": {"train_seconds": rng.uniform(20, 30), "images_per_second": rng.uniform(800, 900)},
        "machine": {"cpu": "no machine", "capability": "AVX2", "device": "cpu", "device_name": "no machine",
                    "threads": 1, "processes": 1, "python": "3.11.7", "platform": "synthetic",
                    "packages": {"torch": "2.6"}, "commit": "0" * 12},
        "code": {}, "error": None,
    }  # fmt: skip
    if taught:
        assert teacher is not None
        made["teacher_signature"] = teacher["signature"] = _digest(
            [identity["dataset"], identity["label_noise"], identity["teacher"]]
        )
    return {**made, **changes}


def history(made: Mapping[str, Any]) -> list[dict[str, float]]:
    """Rows of an epoch each that end in the record's figures."""
    epochs, rows = made["identity"]["recipe"]["epochs"], []
    for place in range(1, EPOCHS_SHOWN + 1):
        missing = math.exp(-4 * place / EPOCHS_SHOWN) - math.exp(-4)
        row = {
            "epoch": float(round(epochs * place / EPOCHS_SHOWN) - 1),
            "loss": made["metrics"]["loss_last"] * (1 + missing),
        }
        row |= {key: made["metrics"][f"{key}_last"] * (1 - 0.6 * missing) for key in ("val_top1", "test_top1")}
        rows.append(row)
    return rows


def write(results: Path, *records: Mapping[str, Any]) -> Path:
    """Run folders below `results/runs`, each with record.json, history.csv and run.log."""
    for made in records:
        folder = results / "runs" / made["signature"]
        folder.mkdir(parents=True, exist_ok=True)
        sealed = {**made, files.SUM_KEY: files.sum_of(made)}
        (folder / "record.json").write_text(json.dumps(sealed), encoding="utf-8")
        rows = history(made) if made["metrics"] else []
        lines = [
            ",".join(rows[0] if rows else ["epoch"]),
            *(",".join(f"{value:.6g}" for value in row.values()) for row in rows),
        ]
        content = "\n".join(lines) + "\n"
        (folder / "history.csv").write_text(content, encoding="utf-8")  # ten thousand: nothing waits for the disk
        (folder / ".history.csv.sha256").write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n")
        log = "".join(
            f"{made['label']['method']}: epoch {row['epoch'] + 1:.0f}, test {row['test_top1']:.1f} %\n" for row in rows
        )
        (folder / "run.log").write_text(log, encoding="utf-8")
    return results


def many(count: int) -> Iterator[dict[str, Any]]:
    """Runs of one setting after another: twelve methods and five seeds each, 192 settings."""
    settings = itertools.product(DATASETS, PAIRS, NOISES, LENGTHS)
    found = (
        record(method, seed, dataset=dataset, pair=pair, noise=noise, epochs=epochs)
        for dataset, pair, noise, epochs in settings
        for method in METHODS
        for seed in range(5)
    )
    return itertools.islice(found, count)


SETTING = "experiment=small/digits"  # laid over the sweep


def several() -> list[dict[str, Any]]:
    """What a small study leaves: a setting of methods, a sweep of selection ratios, and a diverged run."""
    made = [record(method, seed, typed=(f"method={method}", f"seed={seed}")) for method in METHODS for seed in range(3)]
    made += [record("kd", seed, noise=0.4) for seed in range(3)] + [
        record("none", seed, noise=0.4) for seed in range(3)
    ]
    made.append(record("fitnet", 3, top1=10.0))
    for strategy, ratio, seed in itertools.product(
        ("influence", "random", "confidence", "entropy", "loss", "teacher_correct", "influence_reversed"),
        ("0.5", "0.6", "0.7", "0.8", "0.9", "1.0"), (0, 1, 2),
    ):  # fmt: skip
        typed = (f"selection={strategy}", f"selection.ratio={ratio}", f"seed={seed}", "+sweeps=lrds_ratio", SETTING)
        parts = {"selection.name": strategy, "selection.ratio": float(ratio)}
        label = f"lrds selection={strategy} ratio={ratio}"
        made.append(record(label, seed, sweep="lrds_ratio", typed=typed, values=parts))
    return made


def swept(name: str, *over: str, dataset: str = "digits") -> list[dict[str, Any]]:
    """A run for every job of a sweep, with `over` laid over it."""
    rng, made = random.Random(name), []
    for number, job in enumerate(outline(name, over).jobs):
        typed = [*(f"{key}={value}" for key, value in job.items()), f"+sweeps={name}"]
        typed += [word for word in over if word.partition("=")[0] not in job]
        method = job.get("method", "kd")
        parts = {"method.number": number}
        one = record(method, int(job.get("seed", "0")), rng.gauss(80, 1), dataset=dataset, values=parts)
        label = {**one["label"], "method": f"{method} number={number}"}
        made.append(one | {"typed": typed, "sweep": name, "label": label})
    return made


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

"""Run folders that no network was trained for: many settings, methods and seeds, laid out as real runs leave them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kd_experiments.tracking.record import SCHEMA
from tests.conftest import composed

SEEDS = range(5)
PAIRS = (
    ("resnet56", "resnet20"),
    ("wrn_40_2", "wrn_16_2"),
    ("resnet32x4", "resnet8x4"),
    ("vgg13", "vgg8"),
    ("resnet32x4", "ShuffleV2"),
)
DATASETS = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}  # and how many classes each has
NOISES = ((), ("label_noise=symmetric", "label_noise.rate=0.4"))
LENGTHS = (60, 240)  # epochs
VARIANTS: tuple[tuple[str, ...], ...] = (
    ("method=none",),
    ("method=kd",),
    *((f"method=lrds selection.ratio={ratio}").split() for ratio in ("0.4", "0.6", "0.8")),  # type: ignore[misc]
    *((f"method={name}",) for name in ("btkd", "btkd_elimination", "la_ps", "dtd_flsw", "la_dtd", "cmd_s", "cmd_p")),
    *((f"method={name}",) for name in ("dml", "dkd", "dist", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "crd")),
    *((f"method={name}",) for name in ("reviewkd", "none_ls")),
)
EPOCHS_SHOWN = 20  # rows of a history


def write_records(results: Path, count: int, seed: int = 0) -> None:
    """Write `count` run folders below `results/runs`, each with record.json, config.yaml, history.csv and run.log.

    The first runs fill one setting after another (25 variants of methods, five seeds each); there are 80 settings, so
    10,000 runs fill them all. The same `count` and `seed` give the same bytes.
    """
    for record, text in itertools.islice(_records(seed), count):
        folder = results / "runs" / record["signature"]
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / "config.yaml").write_text(f"seed: {record['seed']}\n{text}", encoding="utf-8")
        history = _history(record)
        lines = [",".join(history[0]), *(",".join(f"{value:.6g}" for value in row.values()) for row in history)]
        (folder / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        name = f"{record['config']['method']['name']} {record['config']['student']['network']}"
        log = [f"{name}: epoch {row['epoch'] + 1:.0f}, test {row['test_top1']:.1f} %" for row in history]
        (folder / "run.log").write_text("\n".join(log) + "\n", encoding="utf-8")


def _records(seed: int) -> Iterator[tuple[dict[str, Any], str]]:
    """Records and the YAML text of their configuration without the seed."""
    for dataset, pair, noise, epochs in itertools.product(DATASETS, PAIRS, NOISES, LENGTHS):
        level = random.Random(f"{seed} {dataset} {pair} {noise} {epochs}").uniform(68, 74)
        for variant in VARIANTS:
            config = _config(dataset, pair, noise, epochs, variant)
            text = yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False)
            effect = random.Random(f"{seed} {variant}").uniform(-0.5, 2.0)
            for run_seed in SEEDS:
                rng = random.Random(f"{seed} {dataset} {pair} {noise} {epochs} {variant} {run_seed}")
                top1 = level + effect + 0.1 * run_seed + rng.gauss(0, 0.25)
                yield _record({"seed": run_seed, **config}, top1, rng), text


def _config(
    dataset: str, pair: tuple[str, str], noise: tuple[str, ...], epochs: int, variant: tuple[str, ...]
) -> dict[str, Any]:
    teacher, student = pair
    method, data, labels = _composed(*variant), _composed(f"dataset={dataset}"), _composed(*noise)
    config = {key: value for key, value in method.items() if key != "seed"}
    config["dataset"], config["label_noise"] = data["dataset"], labels["label_noise"]
    config["teacher"] = {**method["teacher"], "network": teacher}
    config["student"], config["peer"] = {"network": student}, {"network": student}
    config["recipe"] = {**method["recipe"], "epochs": epochs}
    return config


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    return composed(*overrides)


def _record(config: dict[str, Any], top1: float, rng: random.Random) -> dict[str, Any]:
    classes, peers = DATASETS[config["dataset"]["name"]], config["method"]["source"] == "peer"
    taught = config["method"]["distiller"] != "none" and not peers
    metrics = {
        "loss_last": 0.4 + rng.random(),
        "val_top1_last": top1 + rng.gauss(0, 0.3),
        "test_top1_last": top1,
        "test_top5_last": min(100.0, top1 + 21),
        "test_nll_last": (100 - top1) / 30,
        "test_ece_last": rng.uniform(2, 9),
        "train_top1_last": min(100.0, top1 + 8),
        "test_top1_best_val": top1 + rng.uniform(-0.3, 0.1),
        "best_val_epoch": float(config["recipe"]["epochs"] - rng.randrange(9)),
        "test_top1_best_test": top1 + rng.uniform(0, 0.4),
    }
    if taught:
        metrics |= {"test_agreement_last": rng.uniform(75, 85), "test_inherited_errors_last": rng.uniform(50, 60)}
    if peers:
        other = top1 + rng.gauss(0, 0.4)
        metrics |= {"peer_test_top1_last": other, "mean_test_top1_last": (top1 + other) / 2}
    noisy = config["label_noise"]["name"] != "none"
    if noisy:
        metrics |= {"clean_fit_last": top1 + 5, "wrong_fit_last": rng.uniform(2, 20), "correction_last": top1 - 9}
    seconds = rng.uniform(200, 400)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "signature": _digest(config),
        "status": "complete",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:10:00+00:00",
        "seed": config["seed"],
        "config": config,
        "teacher": _teacher(config, classes) if taught else None,
        "student": {"network": config["student"]["network"], "parameters": 278_324},
        "data": {
            "train": 45_000, "val": 5_000, "test": 10_000, "classes": classes,
            "noisy_labels": 18_000 if noisy else 0, "noise_share": 0.4 if noisy else 0.0,
        },
        "metrics": metrics,
        "timing": {
            "train_seconds": seconds, "images_per_second": 45_000 / seconds, "peak_memory_bytes": 9e8,
            "this_call_seconds": seconds + 10,
        },
        "environment": {
            "kd_experiments": "0.1.0", "commit": "0" * 12, "python": "3.11.7", "platform": "synthetic",
            "packages": {}, "device": "cpu", "device_name": "no machine", "threads": 1,
        },
        "error": None,
    }  # fmt: skip
    if config["selection"]["name"] != "none":
        share = config["selection"]["ratio"]
        record["selection"] = {
            "strategy": config["selection"]["name"], "selected": int(45_000 * share), "of": 45_000, "share": share,
        }  # fmt: skip
    if taught:
        revised = 0 if config["revision"]["name"] == "none" else 2_000
        record["revision"] = {
            "name": config["revision"]["name"], "wrong": 2_500, "wrong_and_selected": 2_000, "revised": revised,
        }  # fmt: skip
    return record


def _teacher(config: dict[str, Any], classes: int) -> dict[str, Any]:
    content = {"dataset": config["dataset"], "noise": config["label_noise"], "teacher": config["teacher"]}
    return {
        "schema": SCHEMA, "signature": _digest(content), "status": "complete", "network": config["teacher"]["network"],
        "checkpoint": None, "parameters": 861_620, "train_size": 45_000, "train_wrong": 2_500, "train_top1": 94.44,
        "train_top5": 99.9, "train_nll": 0.2, "train_ece": 1.5, "val_top1": 72.1, "val_top5": 92.0, "val_nll": 1.1,
        "val_ece": 6.0, "test_top1": 73.0 if classes == 100 else 93.0, "test_top5": 92.5, "test_nll": 1.05,
        "test_ece": 6.2, "train_seconds": 900.0,
    }  # fmt: skip


def _history(record: dict[str, Any]) -> list[dict[str, float]]:
    """Rows of an epoch each, spread over the training, that end in the record's figures."""
    metrics, epochs = record["metrics"], record["config"]["recipe"]["epochs"]
    rows = []
    for place in range(1, EPOCHS_SHOWN + 1):
        epoch = round(epochs * place / EPOCHS_SHOWN) - 1
        missing = math.exp(-4 * place / EPOCHS_SHOWN) - math.exp(-4)
        row = {"epoch": float(epoch), "lr": 0.05 * (1 - epoch / epochs), "loss": metrics["loss_last"] * (1 + missing)}
        row |= {"train_seconds": record["timing"]["train_seconds"] / epochs, "images_per_second": 150.0}
        for name, value in metrics.items():
            if name.endswith("_last") and name not in ("loss_last", "train_top1_last"):
                row[name.removesuffix("_last")] = value * (1 - 0.6 * missing)
        rows.append(row)
    return rows


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

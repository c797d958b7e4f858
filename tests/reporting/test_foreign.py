"""Records of somebody else's, with right check sums: whatever is wrong in them, what is made of the others is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_experiments import files
from kd_experiments.reporting.__main__ import main as report
from kd_experiments.reporting.frame import LEFT_OUT, runs
from kd_experiments.sweeping import listing
from kd_experiments.sweeping.__main__ import main as sweeping
from tests.reporting.synthetic import record, write

GONE = object()
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
NOT_READ: list[tuple[str, Any]] = [  # refused as a record
    ("config", {}), ("config.seed", GONE), ("config.seed", "x"), ("config.precision", GONE), ("config.dataset", None),
    ("config.label_noise", 1), ("config.student", "net"), ("config.method", GONE), ("config.method.name", 3),
    ("config.recipe", []), ("config.recipe.lr", "fast"), ("config.deep", DEEP), ("identity", {}),
    ("identity.dataset", {}), ("identity.dataset.name", ["a"]), ("identity.deep", DEEP), ("student", None),
    ("data", None), ("data.classes", 0), ("data.test", 0), ("metrics", {}), ("metrics.test_ece_last", GONE),
    ("metrics.test_inherited_errors_last", GONE), ("metrics.peer_test_top1_last", 1.0), ("timing", {}),
    ("signature", "../../x"), ("signature", "A" * 16), ("status", "perfect"), ("typed", [1]), ("label.replicate", GONE),
]  # fmt: skip
NOT_SHOWN: list[tuple[str, Any]] = [  # a record, but no row of a table
    ("identity.metrics", {"better": "high"}), ("identity.timing", {"seconds": [1]}),
    ("identity.selection", {"share": "x"}), ("identity.label_noise.rate", "lots"),
    ("identity.dataset.train_size", "many"), ("identity.revision", {"wrong": ""}),
]  # fmt: skip


def damaged(made: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *way, last = key.split(".")
    place = made
    for name in way:
        place = place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return made


def test_they_stop_nothing_and_each_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [record(method, seed) for method in ("none", "kd") for seed in range(2)]
    write(tmp_path, *good)
    names = []
    for number, (key, value) in enumerate([*NOT_READ, *NOT_SHOWN]):
        made = record("kd", 100 + number)
        names.append(made["signature"])
        files.write_json(tmp_path / "runs" / names[-1] / "record.json", damaged(made, key, value))

    frame = runs(tmp_path)
    told = frame.attrs[LEFT_OUT]
    assert len(frame) == len(good) and len(told) == len(names)
    assert all(sum(name in line for line in told) == 1 for name in names)
    assert all(len(line) < 400 and "\n" not in line for line in told)

    assert report([f"paths.results={tmp_path}", f"out={tmp_path / 'out'}"]) == 0
    assert {"runs.csv", "README.md", "report", "figures"} <= {path.name for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert sweeping(["status", f"paths.results={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith(f"{len(NOT_READ)} unreadable")
    monkeypatch.setattr(listing, "names", lambda: ["lrds_ratio"])
    assert sweeping(["list", f"paths.results={tmp_path}"]) == 0
    assert "lrds_ratio" in capsys.readouterr().out

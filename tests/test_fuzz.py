"""Values, command lines and files that nobody thought of: a sentence, never a traceback, never for ever."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_experiments import files, single_run
from kd_experiments.config import check
from kd_experiments.data.decode import BrokenImage, open_rgb
from kd_experiments.errors import UserError
from kd_experiments.identity import signature
from kd_experiments.sweeping.run_status import every_run_status
from kd_experiments.teachers.checkpoint_file import read_state
from kd_experiments.tracking.record import as_record, every_record
from tests.conftest import SOAK, Cli, composed
from tests.reporting.synthetic import record

NUMBERS = (10**400, -(10**400), 10**21, 2**63, 2**31, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 0, -1, 1, 0.5)
TEXTS = ("", " ", "../..", "/dev/zero", "x" * 5000, "\0", "\n", "\ud800", "é", "=1+1", "<b>", "${x}", "kd")
OTHERS = (True, None, [], [[]], [None], [10**400], {}, {"name": {}}, {"name": "kd"}, {1: 2}, {None: 1})
NASTY = st.one_of(
    st.sampled_from((*NUMBERS, *TEXTS, *OTHERS)),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.floats() | st.text(max_size=3), max_size=3),
)
CHOICES = ["method=lrds", "method=none", "method=cmd_p", "method=dkd", "method=crd", "selection=tracin"]


def leaves(content: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The way to every key, groups included."""
    found: list[tuple[str, ...]] = []
    for key, value in content.items():
        found.append((*prefix, key))
        if isinstance(value, Mapping):
            found += leaves(value, (*prefix, key))
    return found


def changed(content: dict[str, Any], way: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at the end of the way."""
    content = copy.deepcopy(content)
    place: Any = content
    for key in way[:-1]:
        place = place[key]
        if not isinstance(place, dict):  # an earlier change took the group away
            return content
    place[way[-1]] = value
    return content


VALUES, RECORDS, OTHER_FILES = (10_000, 1000, 1000) if SOAK else (200, 100, 50)


@pytest.mark.counts("sets of values that nobody thought of: no traceback", VALUES)
@given(st.data())
@settings(max_examples=VALUES)
def test_values_that_nobody_thought_of(data: st.DataObject) -> None:
    content = composed(data.draw(st.sampled_from(CHOICES)))
    for _ in range(data.draw(st.integers(1, 3))):
        content = changed(content, data.draw(st.sampled_from(leaves(content))), data.draw(NASTY))
    try:
        config = check(content)
        for epoch in (0, config.recipe.epochs - 1):
            config.recipe.for_samples(1000).lr_at(epoch, 0, config.recipe.steps_per_epoch(1000))
        signature(config)
    except UserError as error:
        assert 0 < len(str(error)) < 2000 and "\n" not in str(error)


MADE = as_record(record("none"), "")


@pytest.mark.counts("damaged and foreign records: each named once", RECORDS)
@given(st.data())
@settings(max_examples=RECORDS, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_and_foreign_records(tmp_path: Path, data: st.DataObject) -> None:
    """Other values under a right check sum, or other bytes: named once each, and the listing goes on."""
    path = tmp_path / "runs" / "x" / "record.json"
    content = asdict(MADE)
    if data.draw(st.booleans()):
        content = changed(content, data.draw(st.sampled_from(leaves(content))), data.draw(NASTY))
        with contextlib.suppress(ValueError, TypeError, RecursionError):  # what no JSON can hold
            files.write_json(path, content)
    else:
        files.write_json(path, content)
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    found, complaints = every_record(tmp_path)
    assert len(found) + len(complaints) <= 1
    assert all("\n" not in line and len(line) < 2000 for line in complaints)
    every_run_status(tmp_path)


@pytest.mark.counts("damaged checkpoints, and as many images: read or refused", OTHER_FILES)
@given(st.data())
@settings(max_examples=OTHER_FILES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_checkpoints_images_and_idx_files(tmp_path: Path, data: st.DataObject) -> None:
    """Other bytes than were written are read, or refused in a sentence."""
    kept = tmp_path / "sound"
    if not kept.exists():
        torch.save({"model": {"a": torch.arange(5.0), "b": torch.zeros(3, 4)}, "epoch": 3}, kept)
        Image.new("RGB", (16, 16), (10, 20, 30)).save(tmp_path / "sound.png")
    for name, read in (("sound", read_state), ("sound.png", open_rgb)):
        whole = bytearray((tmp_path / name).read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / f"changed-{name}"
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        with contextlib.suppress(UserError, BrokenImage):
            read(path)


LINES: list[list[str]] = [
    ["seed=" + "9" * 400], ["seed=" + "9" * 5000], ["recipe.lr=1" + "0" * 400], ["recipe.lr=1e308"],
    ["recipe.batch_size=1000000000000000000000"], ["snapshots=99999999999"], ["teacher.snapshots=99999999999"],
    ["dataset.mean=[]"], ["recipe.milestones=[[]]"], ["tracking.tags=[{}]"], ["paths.results="], ["paths.results=' '"],
    ["paths.results=/tmp/" + "x" * 5000], ["dataset=fashion_mnist", "dataset.root=/tmp/" + "x" * 5000],
    ["teacher.checkpoint=" + "x" * 5000], ["--resolve"], ["--multirun", "--cfg", "job"], ["--cfg", "x"], ["--cfg"],
    ["--info", "x"], ["~paths"], ["~rerun"], ["~dataset"], ["dataset=null"], ["paths=null"], ["seed=null"], ["seed="],
    ["seed=${seed}"], ["seed=${nothing}"], ["+a=${b}", "+b=${a}"], ["seed={a:1}"], ["recipe={}"], ["method=[kd"],
    ["+x=" + "[" * 300 + "]" * 300], ["seed=\0"], ["teacher.checkpoint=\x1b[31m"], ["=1"], ["+=1"], ["~"], ["a b"],
    ["--config-dir", "/nonexistent"], ["--config-name", "nothing"], ["-x"], ["seed=${oc.env:NOTHING}"], ["@"],
    ["hydra.run.dir="], ["hydra.verbose=[1]"], ["seed=!!python/none"], ["recipe.lr=.inf"], ["recipe.lr=0x1p3"],
    ["--multirun", "seed=range(0,1e12)"], ["--multirun", "+sweeps=lrds_ratio", "seed=range(0,1e12)"],
    ["hydra.mode=MULTIRUN", "seed=range(0,1e12)"], ["--multirun", "hydra/sweeper=basic", "seed=range(0,1e12)"],
    ["--multirun", "seed=range(0,5,0)"], ["--multirun", "seed=" + ",".join(map(str, range(3))) + ","],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line)[:40].encode("unicode_escape").decode())
def test_named_command_lines(cli: Cli, monkeypatch: pytest.MonkeyPatch, line: list[str]) -> None:
    """Each is refused in a sentence, or means something: then nothing is run here."""

    def means_something(*arguments: object, **named: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(single_run, "run", means_something)
    answer = cli(*line)
    assert answer.code == 2 or (answer.code == 0 and not answer.err), answer
    assert "Traceback" not in answer.err and len(answer.err) < 3000
    assert all(character.isprintable() or character == "\n" for character in answer.err)

"""The table of teacher answers changes nothing but the time."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_experiments import stopping
from kd_experiments.data.digits import read_digits
from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import DatasetConfig, load
from kd_experiments.networks import Network, build
from kd_experiments.teachers import obtain
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.making import load_snapshot_network
from kd_experiments.teachers.view_table import DiskTable, MemoryTable, NoTable, TableKind, ViewTable
from kd_experiments.training.objective import Batch
from tests.conftest import PATIENCE, TINY, Cli, records
from tests.teachers.filling import fill_in_a_process

CPU = torch.device("cpu")
KIND = TableKind(teacher="t", samples=5, views=3, view_names="pad1", columns=2, dtype="float32")


@pytest.fixture(scope="module")
def data() -> Any:
    assert read_digits()
    return load(DatasetConfig("digits", None, False, 700, 0.15, 0, 1, False, None, None), NoNoise(), Path("unused"))


def everyone(table: ViewTable, views: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    rows, missing = table.get(torch.arange(len(views)), views)
    return rows, missing.tolist()


@pytest.mark.parametrize("place", ["disk", "memory"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("classes", [2, 3])
def test_rows_are_kept_and_missing_ones_known(tmp_path: Path, place: str, dtype: Any, classes: int) -> None:
    kind = TableKind("t", 5, 3, "pad1", classes, dtype)
    table = DiskTable(tmp_path / "t", kind, CPU) if place == "disk" else MemoryTable(kind, CPU)
    views = torch.tensor([0, 1, 2, 0, 1])
    assert everyone(table, views)[1] == [0, 1, 2, 3, 4]
    logits = torch.randn(2, classes)
    kept = table.put(torch.tensor([1, 4]), views[[1, 4]], logits)
    assert torch.equal(kept, logits.to(getattr(torch, dtype)).float())
    rows, missing = everyone(table, views)
    assert missing == [0, 2, 3] and torch.equal(rows[[1, 4]], kept)
    assert everyone(table, torch.tensor([0, 2, 2, 0, 0]))[1] == [0, 1, 2, 3, 4]
    if place == "disk":
        again = DiskTable(tmp_path / "t", kind, CPU)
        for table in (again, MemoryTable(kind, CPU, start=again)):
            rows, missing = everyone(table, views)
            assert missing == [0, 2, 3] and torch.equal(rows[[1, 4]], kept)


def test_a_table_of_nothing_asks_every_time() -> None:
    table = NoTable(KIND, CPU)
    views = torch.zeros(5, dtype=torch.long)
    table.put(torch.arange(5), views, torch.ones(5, 2))
    assert everyone(table, views)[1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "u"},
        {"columns": 4},
        {"holds": "embedding"},
        {"views": 6},
        {"view_names": "pad2"},
        {"dtype": "float16"},
    ],
)
def test_a_foreign_table_is_built_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    views = torch.zeros(5, dtype=torch.long)
    DiskTable(tmp_path / "t", KIND, CPU).put(torch.arange(5), views, torch.ones(5, 2))
    assert everyone(DiskTable(tmp_path / "t", KIND, CPU), views)[1] == []
    other = TableKind(**{**vars(KIND), **change})
    assert everyone(DiskTable(tmp_path / "t", other, CPU), views)[1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spoil", ["truncated", "lengthened", "emptied", "not a table"])
def test_a_spoiled_table_is_built_anew(tmp_path: Path, spoil: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, views = tmp_path / "t", torch.zeros(5, dtype=torch.long)
    DiskTable(path, KIND, CPU).put(torch.arange(5), views, torch.ones(5, 2))
    content = path.read_bytes()
    path.write_bytes(
        {"truncated": content[:-4], "lengthened": content + b"x", "emptied": b"", "not a table": bytes(len(content))}[
            spoil
        ]
    )
    assert everyone(DiskTable(path, KIND, CPU), views)[1] == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.count("or of another teacher: begun anew") == 1


def test_a_torn_row_is_not_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, views = tmp_path / "t", torch.zeros(5, dtype=torch.long)
    DiskTable(path, KIND, CPU).put(torch.arange(5), views, torch.arange(1.0, 11.0).reshape(5, 2))
    content = bytearray(path.read_bytes())
    rows = np.frombuffer(content, np.float32, 30, len(content) - 120).reshape(15, 2)
    rows[0, 1] = 0.0  # half of a row was never written
    rows[[3, 6]] = rows[[6, 3]]  # two rows stand in each other's places
    path.write_bytes(content)
    table = DiskTable(path, KIND, CPU)
    for _ in range(2):
        assert everyone(table, views)[1] == [0, 1, 2]
    assert everyone(table, views + 1)[1] == [0, 1, 2, 3, 4], "never written, hence nothing to say"
    assert capsys.readouterr().err.count("its damaged rows are computed again") == 1


def test_table_and_live_teacher_say_the_same_bit_for_bit(data: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("resnet8", classes=10, channels=1, size=8).eval().to(memory_format=torch.channels_last)
    kind = TableKind("t", len(data.train), data.views.count, "pad1", 10, "float32")
    tabulated = TabulatedTeacher(lambda: network, [DiskTable(tmp_path / "t", kind, CPU)], data)
    live = LiveTeacher(network, data)
    for epoch in range(3):  # later epochs find some rows filled: chunks are then composed differently
        views = data.views.draw(0, epoch, len(data.train), CPU)
        tabulated.begin_epoch(views)
        index = torch.randperm(len(data.train))[:64]
        batch = Batch(index, data.in_view(index, views[index]), *[torch.empty(0)] * 3)
        assert torch.equal(tabulated.forward(batch).logits, live.forward(batch).logits)


def test_a_teacher_that_is_loaded_late_moves_no_random_numbers(data: Any) -> None:
    """A student with dropout, CRD's negatives and connectors are the same whether its table is full or empty."""
    kind = TableKind("t", len(data.train), data.views.count, "pad1", 10, "float32")

    state = build("resnet8", classes=10, channels=1, size=8).state_dict()
    tabulated = TabulatedTeacher(
        lambda: load_snapshot_network("resnet8", data, state).eval(), [MemoryTable(kind, CPU)], data
    )
    before = torch.get_rng_state()
    tabulated.begin_epoch(data.views.draw(0, 0, len(data.train), CPU))
    tabulated.forward_images(torch.rand(2, 1, 8, 8, generator=torch.Generator()))
    assert tabulated.asked and torch.equal(torch.get_rng_state(), before)


def test_labelling_stops_between_two_chunks(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a training the signal waits for `stop_if_asked`; what was answered before is kept."""
    network = build("resnet8", classes=10, channels=1, size=8).eval()
    table = DiskTable(tmp_path / "t", TableKind("t", len(data.train), data.views.count, "pad1", 10, "float32"), CPU)
    source, views = TabulatedTeacher(lambda: network, [table], data), torch.zeros(len(data.train), dtype=torch.long)
    put = table.put

    def asked(*arguments: torch.Tensor) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return put(*arguments)

    monkeypatch.setattr(table, "put", asked)
    with stopping.listening(), stopping.between_steps(), pytest.raises(stopping.Stopped):
        source.answers(views)
    assert source.asked == 128 == len(views) - len(everyone(table, views)[1])


def test_embeddings_by_view_are_the_live_teachers_bit_for_bit(data: Any, tmp_path: Path) -> None:
    """Also where logits are known already, or embeddings alone: a row that some table lacks is asked for once."""
    torch.manual_seed(0)
    network = build("resnet8", classes=10, channels=1, size=8).eval().to(memory_format=torch.channels_last)
    logits = TableKind("t", len(data.train), data.views.count, "pad1", 10, "float32")
    embedding = replace(logits, columns=64, holds="embedding")
    first = DiskTable(tmp_path / "l", logits, CPU)
    TabulatedTeacher(lambda: network, [first], data).begin_epoch(data.views.draw(0, 0, len(data.train), CPU))
    tabulated = TabulatedTeacher(lambda: network, [first, DiskTable(tmp_path / "e", embedding, CPU)], data)
    live = LiveTeacher(network, data)
    asked = set()
    for epoch in range(3):
        views = data.views.draw(0, epoch, len(data.train), CPU)
        tabulated.begin_epoch(views)
        asked |= set(enumerate(views.tolist()))
        assert tabulated.asked == len(asked)
        index = torch.randperm(len(data.train))[:64]
        batch = Batch(index, data.in_view(index, views[index]), *[torch.empty(0)] * 3)
        ours, theirs = tabulated.forward(batch), live.forward(batch)
        assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.embedding, theirs.embedding)
        assert not ours.features


def with_teacher_of(other: Path, results: Path) -> None:
    """The teacher that was trained there before, without its tables: what is trained again is trained the same."""
    if (other / "teachers").exists():
        shutil.copytree(other / "teachers", results / "teachers", ignore=shutil.ignore_patterns("views-*", "*.lock"))


def weights(results: Path) -> dict[str, torch.Tensor]:
    (path,) = results.glob("runs/*/student.pt")
    model: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return model


def test_students_do_not_depend_on_the_table(cli: Cli, tmp_path: Path) -> None:
    """On, off, on disk, in memory, cold, filled in advance, filled by another seed: the same weights."""
    wishes = {
        "auto": [],
        "off": ["teacher.table=off"],
        "disk": ["teacher.table=disk"],
        "memory": ["teacher.table=memory"],
        "over budget": ["teacher.table_budget=0.000001"],
        "filled": ["teacher.table=disk"],
        "filled, memory": ["teacher.table=memory"],
        "another seed first": ["teacher.table=disk"],
    }
    found = {}
    for name, wish in wishes.items():
        results = tmp_path / name.replace(", ", "-").replace(" ", "-")
        with_teacher_of(tmp_path / "auto", results)
        if name.startswith("filled"):
            fill(results)
        if name == "another seed first":
            assert cli("method=la_ps", "seed=5", "recipe.epochs=1", f"paths.results={results}").code == 0
            for run in results.glob("runs/*"):
                run.rename(results / run.name)
        answer = cli("method=kd", f"paths.results={results}", *wish)
        assert answer.code == 0, answer.err
        assert ("labels every epoch anew" in answer.out) == (name == "over budget")
        found[name] = weights(results)
        kept = bool(list(results.glob("teachers/*/views-pad1-noflip.float32")))
        assert kept == (name not in ("off", "memory", "over budget"))
    first = found.pop("auto")
    for name, other in found.items():
        assert all(torch.equal(first[key], other[key]) for key in first), name


@pytest.mark.parametrize("method", ["rkd", "crd"])
def test_students_of_embeddings_do_not_depend_on_the_table(cli: Cli, tmp_path: Path, method: str) -> None:
    """On disk after a run of logits, in memory, off, filled in advance: the same weights; then no live teacher."""
    tiny = [f"method={method}", *(["method.negatives=50"] if method == "crd" else [])]
    found = []
    for name, wish in {
        "disk": [],
        "memory": ["teacher.table=memory"],
        "off": ["teacher.table=off"],
        "filled": [],
    }.items():
        results = tmp_path / name
        with_teacher_of(tmp_path / "disk", results)
        if name == "filled":
            assert fill(results, *tiny) == 0
        if name == "disk":
            assert cli("method=kd", "recipe.epochs=1", f"paths.results={results}").code == 0
            for run in results.glob("runs/*"):
                run.rename(results / run.name)
        answer = cli(*tiny, f"paths.results={results}", *wish)
        assert answer.code == 0, answer.err
        found.append(weights(results))
        kept = {path.name for path in results.glob("teachers/*/views-*")} - {
            path.name for path in results.glob("teachers/*/*.lock")
        }
        both = {"views-pad1-noflip.float32", "views-pad1-noflip-embedding.float32"}
        assert kept == (both if name in ("disk", "filled") else set())
    assert all(torch.equal(found[0][key], other[key]) for other in found[1:] for key in found[0])


@pytest.mark.parametrize(
    ("method", "deepest"),
    [("fitnet", 1), ("ab method.initialisation_epochs=1", None), ("fsp method.initialisation_epochs=1", None)],
)
def test_a_teacher_that_computes_only_what_is_read_changes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, deepest: int | None
) -> None:
    from kd_experiments.networks import Network

    up_to, stages = Network.up_to, set()

    def seen(self: Network, images: torch.Tensor, stage: int) -> Any:
        stages.add(stage)
        return up_to(self, images, stage)

    monkeypatch.setattr(Network, "up_to", seen)
    tiny = [
        f"method={method.split()[0]}",
        *method.split()[1:],
        "student=resnet8",
        *(["method.stage=1"] if deepest else []),
    ]
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert cli(*tiny, f"paths.results={whole}", "teacher.table=off").code == 0 and not stages
    assert cli(*tiny, f"paths.results={part}").code == 0
    assert stages == ({deepest} if deepest else {3})
    first, second = weights(whole), weights(part)
    assert all(torch.equal(first[key], second[key]) for key in first)


def fill(results: Path, *more: str) -> int:
    from kd_experiments.teachers.__main__ import main

    return main(["fill", *TINY, f"paths.results={results}", *more])


def test_a_resumed_run_does_not_depend_on_the_table(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_experiments.training.loop import Training

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert cli("method=kd", f"paths.results={whole}").code == 0
    with_teacher_of(whole, halves)
    train_epoch = Training.train_epoch

    def interrupted(self: Training, epoch: int) -> dict[str, float]:
        if epoch == 1 and self.source is not None:
            raise stopping.Stopped(signal.SIGINT)
        return train_epoch(self, epoch)

    monkeypatch.setattr(Training, "train_epoch", interrupted)
    assert cli("method=kd", f"paths.results={halves}", "teacher.table=disk").code == 130
    monkeypatch.undo()
    assert cli("method=kd", f"paths.results={halves}", "teacher.table=off").code == 0
    first, second = weights(whole), weights(halves)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_filled_table_needs_no_teacher_network(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fill(tmp_path) == 0
    assert "view 9 of 9: 1,800 rows" in capsys.readouterr().out

    def never(*arguments: object) -> None:
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr(obtain, "load_network", never)
    for method in ("kd", "la_dtd", "btkd"):  # any seed, hence any views
        assert cli(f"method={method}", "seed=3").code == 0


def test_float16_rounds_and_says_so_in_the_signature(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=kd").code == 0
    assert cli("method=kd", "teacher.table_dtype=float16").code == 0
    half, full = sorted(records(tmp_path), key=lambda record: str(record["config"]["teacher"]["table_dtype"]))
    assert full["signature"] != half["signature"] and full["teacher"]["signature"] == half["teacher"]["signature"]
    sizes = {path.suffix: path.stat().st_size for path in tmp_path.glob("teachers/*/views-*.float*")}
    assert sizes[".float32"] - sizes[".float16"] == 200 * 9 * 10 * 2


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_table_over_the_budget_is_one_clear_line(cli: Cli, place: str) -> None:
    answer = cli("method=kd", f"teacher.table={place}", "teacher.table_budget=0.000001")
    assert answer.code == 2
    assert f"teacher.table={place}: the teacher's view table of 1,800 views takes 0.0 GiB" in answer.err
    assert "give teacher.table_budget=1, teacher.table_dtype=float16, or teacher.table=off" in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["teacher.table=memory"], "there is nothing to fill in advance"),
        (["teacher=resnet21"], "no such choice"),
        (["teacher.table=disc"], "teacher.table=disc: no such choice; did you mean disk?"),
        (["techer=resnet20"], "teacher"),
    ],
)
def test_filling_explains_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Any, words: Any
) -> None:
    assert fill(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_concurrent_fillers_make_one_right_table_and_do_nothing_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    asked, started = context.Value("q", 0), context.Barrier(3)
    alone, _ = tmp_path / "alone", None
    together = tmp_path / "together"
    DiskTable(together, TableKind("t", 1100, 9, "pad1", 10, "float32"), CPU)
    workers = [context.Process(target=fill_in_a_process, args=(together, asked, started)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0
    assert asked.value == 1100 * 9
    single = context.Value("q", 0), context.Barrier(1)
    fill_in_a_process(alone, *single)
    assert alone.read_bytes() == together.read_bytes()

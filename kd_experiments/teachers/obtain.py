"""Get the teacher of a run: read what is known of it, or train it once, however many runs ask at the same time."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_experiments import digests, files
from kd_experiments.data.dataset import Data
from kd_experiments.distillers.base import Distiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network
from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.supervision.selection import Selection, SelectionInputs, Snapshot, scoring_key
from kd_experiments.teachers.checkpoint_file import compare_accuracy
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.making import (
    load_network,
    load_snapshot_network,
    measure,
    seen_val,
    snapshot_epochs,
    train,
)
from kd_experiments.teachers.settings import TeacherConfig
from kd_experiments.teachers.view_table import DiskTable, Holds, MemoryTable, NoTable, TableKind, ViewTable
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.record import TeacherFacts, read_teacher_record
from kd_experiments.training import parallel
from kd_experiments.training.evaluation import outputs
from kd_experiments.training.loop import Source

_OUTPUTS = ("val", "test", "train_wrong")


@dataclass(frozen=True)
class Wanted:
    """Which teacher is asked for, and where it is kept."""

    settings: TeacherConfig
    identity: Mapping[str, Any]
    folder: Path  # of this teacher alone, named by its signature
    downloads: Path
    record_steps: bool  # see `training.capture`


class Teacher:
    """A trained teacher: its facts, kept in its folder, and its network, loaded only when somebody needs it."""

    facts: TeacherFacts

    def __init__(self, wanted: Wanted, data: Data, display: Display) -> None:
        self.settings = wanted.settings
        self.data = data
        self.folder = wanted.folder
        self.display = display
        self.signature = wanted.folder.name
        self._wanted = wanted
        with parallel.locked(self.folder, display.announce):
            self._make(anew=not parallel.agreed(_has_weights(wanted)))
        given, stated = wanted.settings.checkpoint, self.facts.stated_accuracy
        if given is not None and stated is not None:
            display.note(compare_accuracy(given, stated, self.facts.test_top1))

    def _make(self, anew: bool) -> None:
        """Train and measure what is missing, and read the facts; the caller holds the lock.

        One that is trained anew comes out the same, but for another CPU or PyTorch: what is known of it goes before.
        """
        wanted, folder = self._wanted, self.folder
        if anew:
            if parallel.is_main():
                for pattern in ("teacher.pt", "record.json", "outputs.npz", "scores-*.npz"):
                    for path in folder.glob(pattern):
                        path.unlink(missing_ok=True)
            for name in ("network", "outputs"):
                self.__dict__.pop(name, None)
            train(self.settings, self.data, folder, wanted.record_steps, self.display)
        if not parallel.agreed(_complete(folder)):
            measure(self.settings, self.data, folder, wanted.identity, wanted.downloads)
        if parallel.is_main():  # a kill may have left it beside the finished weights
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        record = read_teacher_record(folder / "record.json")
        assert record is not None, "it was complete, or has just been written"
        self.facts = replace(record.facts, seen_val=seen_val(self.settings))  # this run's claim

    @cached_property
    def network(self) -> Network:
        """The frozen network, on the data's device, in eval mode."""
        return load_network(self.settings, self.data, self.folder, self._wanted.downloads)

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """On un-augmented images: logits of `val` and `test`, (N, C), and which of `train` are wrong, (N,) bool."""
        kept = files.load_arrays(self.folder / "outputs.npz", *_OUTPUTS)
        assert kept is not None, "it was complete, or has just been written"
        return {name: torch.from_numpy(array).to(self.data.device) for name, array in kept.items()}

    def source(self, distiller: Distiller) -> Source:
        """The teacher as a source of supervision: by view, unless features are needed or views have no number."""
        if self.data.views is None:
            return LiveTeacher(self.network, self.data)
        if distiller.needs != "features":
            return self.tabulated(distiller.needs)
        stages = len(self.network.feature_shapes())
        deepest = [distiller.deepest_stage(stages, initialising) for initialising in (False, True)]
        # Logits of a table pay if it saves the teacher the stages behind, and must be those it would compute.
        if deepest[0] == stages - 1 or self.settings.table_dtype != "float32":
            return LiveTeacher(self.network, self.data)
        tables = self._tables(("logits",), keep=False)
        if isinstance(tables[0], NoTable):
            return LiveTeacher(self.network, self.data)
        logits = TabulatedTeacher(lambda: self.network, tables, self.data)
        return LiveTeacher(self.network, self.data, logits, lambda initialising: deepest[initialising])

    def tabulated(self, holds: Holds = "logits", keep: bool = False) -> TabulatedTeacher:
        """The teacher behind its table of logits, and perhaps that of embeddings; with `keep`, `auto` must find a place
        on disk.
        """
        wanted: tuple[Holds, ...] = ("logits",) if holds == "logits" else ("logits", "embedding")
        return TabulatedTeacher(lambda: self.network, self._tables(wanted, keep), self.data)

    def _tables(self, wanted: Sequence[Holds], keep: bool) -> tuple[ViewTable, ...]:
        """Tables where `teacher.table` wants them; `UserError` if they are too large for an explicit wish."""
        wish, data = self.settings, self.data
        place = "disk" if keep and wish.table == "auto" else wish.table
        kinds = [self._table_kind(holds) for holds in wanted]
        nowhere = tuple(NoTable(kind, data.device) for kind in kinds)
        if place == "off":
            return nowhere
        gibibytes = sum(kind.size for kind in kinds) / 2**30
        if gibibytes > wish.table_budget:
            smaller = "" if wish.table_dtype == "float16" else ", teacher.table_dtype=float16"
            too_large = (
                f"the teacher's view table of {kinds[0].rows:,} views takes {gibibytes:.1f} GiB, over "
                f"teacher.table_budget={wish.table_budget:g}"
            )
            if place != "auto":
                raise UserError(
                    f"teacher.table={place}: {too_large}; give teacher.table_budget={math.ceil(gibibytes)}"
                    f"{smaller}, or teacher.table=off"
                )
            self.display.note(f"{too_large}: the teacher labels every epoch anew (a larger budget{smaller} helps)")
            return nowhere
        paths = [self._table_path(kind) for kind in kinds]
        if place == "memory":
            starts = [
                DiskTable(path, kind, data.device) if path.exists() else None
                for path, kind in zip(paths, kinds, strict=True)
            ]
            with _enough_memory(gibibytes):
                return tuple(MemoryTable(kind, data.device, start) for kind, start in zip(kinds, starts, strict=True))
        free = shutil.disk_usage(self.folder).free / 2**30
        new = sum(kind.size for path, kind in zip(paths, kinds, strict=True) if not path.exists()) / 2**30
        if free < new:
            too_large = f"the teacher's view table takes {new:.1f} GiB, and {self.folder} has {free:.1f} GiB left"
            if place == "disk":
                raise UserError(f"teacher.table=disk: {too_large}; free some space, or give teacher.table=off")
            self.display.note(f"{too_large}: the teacher labels every epoch anew")
            return nowhere
        # Two processes must not create one table at the same time.
        with parallel.locked(self.folder, self.display.announce), parallel.main_first():
            return tuple(DiskTable(path, kind, data.device) for path, kind in zip(paths, kinds, strict=True))

    def _table_path(self, kind: TableKind) -> Path:
        what = "" if kind.holds == "logits" else f"-{kind.holds}"
        return self.folder / f"views-{kind.view_names}{what}.{kind.dtype}"

    def _table_kind(self, holds: Holds) -> TableKind:
        data, facts = self.data, self.facts
        assert data.views is not None
        weights = {name: getattr(facts, name) for name in ("signature", "train_nll", "val_nll", "test_nll")}
        return TableKind(
            teacher=digests.of_values(weights),
            samples=len(data.train),
            views=data.views.count,
            view_names=f"pad{data.views.padding}-{'flip' if data.views.flip else 'noflip'}",
            columns=data.classes if holds == "logits" else self.network.classifier.in_features,
            dtype=self.settings.table_dtype,
            holds=holds,
        )

    def selection_scores(self, selection: Selection) -> Tensor:
        """Scores of a selection strategy, (N,) float64; kept in the teacher's folder."""
        path = self.folder / f"scores-{digests.of_values({'strategy': scoring_key(selection)})}.npz"
        with parallel.locked(self.folder, self.display.announce):
            kept = parallel.agreed(files.load_arrays(path, "scores"))
            if kept is not None:
                return torch.from_numpy(kept["scores"])
            inputs = self._selection_inputs()
            if selection.reads_embedding and not inputs.train.embedding.shape[1]:
                raise UserError(
                    f"selection: it scores images through the teacher's last linear layer, and teacher="
                    f"{self.settings.network} has none; give another teacher, or selection=confidence"
                )
            scores = selection.scores(inputs).cpu()
            if not parallel.is_main():
                return scores
            files.save_arrays(path, scores=scores.numpy(), strategy=np.array(scoring_key(selection)))
        return scores

    def _selection_inputs(self) -> SelectionInputs:
        data = self.data
        return SelectionInputs(
            outputs(self.network, data, data.train), outputs(self.network, data, data.val), self._snapshots
        )

    def _snapshots(self) -> list[Snapshot]:
        """The teacher's outputs at points of its training, oldest first."""
        trained_here = self.settings.checkpoint is None
        epochs = snapshot_epochs(self.settings, len(self.data.train)) if trained_here else ()
        paths = [self.folder / f"snapshot-{epoch:04d}.pt" for epoch in sorted(epochs)]
        if not parallel.agreed(all(files.is_sound(path) for path in paths)):
            self._make(anew=True)
        shots = []
        for path in paths:
            kept = files.load_own(path)
            assert kept is not None, "it was sound, or has just been written"
            network = load_snapshot_network(self.settings.network, self.data, kept["model"])
            train_outputs, val_outputs = (
                _for_scoring(outputs(network, self.data, split)) for split in (self.data.train, self.data.val)
            )
            shots.append(Snapshot(train_outputs, val_outputs, kept["lr"]))
        if not shots:
            raise UserError(
                f"selection=tracin: the teacher in {self.folder} has no snapshots of its training; use a teacher "
                f"trained here with teacher.snapshots=5, or selection=influence"
            )
        return shots


def _for_scoring(given: SplitOutputs) -> SplitOutputs:
    """Scores are computed in float64, which Apple's GPUs do not have: there the CPU computes them."""
    if given.logits.device.type != "mps":
        return given
    return SplitOutputs(given.logits.cpu(), given.embedding.cpu(), given.labels.cpu())


@contextlib.contextmanager
def _enough_memory(gibibytes: float) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UserError(
            f"teacher.table=memory: the view table takes {gibibytes:.1f} GiB, more than there is; give "
            f"teacher.table=disk or teacher.table_dtype=float16"
        ) from error


def _complete(folder: Path) -> bool:
    outputs_there = files.load_arrays(folder / "outputs.npz", *_OUTPUTS) is not None
    return outputs_there and read_teacher_record(folder / "record.json") is not None


def _has_weights(wanted: Wanted) -> bool:
    return wanted.settings.checkpoint is not None or files.is_sound(wanted.folder / "teacher.pt")

"""The story of one run, top to bottom."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kd_experiments import digests, facts, files, identity, per_sample, stopping
from kd_experiments.config import Config
from kd_experiments.data.dataset import Data
from kd_experiments.data.load import load
from kd_experiments.errors import UserError
from kd_experiments.students.making import make_learners
from kd_experiments.supervision.selection import Selection
from kd_experiments.teachers.obtain import Teacher, Wanted
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.record import Record, RunFolder, StudentFacts
from kd_experiments.tracking.summary import already_done, summary_lines
from kd_experiments.tracking.tracker import Tracker, require
from kd_experiments.training import capture, devices, figures_of_merit, parallel
from kd_experiments.training.loop import Diverged, Training
from kd_experiments.training.session import Row, train_in


def run(
    config: Config, display: Display | None = None, number: int = 0, typed: Sequence[str] = (), sweep: str | None = None
) -> Record:
    """Do one run, or return its record if it is done already; raises `UserError` for a mistake of the user.

    `number` counts the jobs of a sweep, which take turns where there are several GPUs; `typed` is what the user typed.
    """
    with stopping.listening():
        try:
            parallel.start(config.device)  # a display asks which of the processes talks
            return _run(config, display or Display(), number, typed, sweep)
        finally:
            devices.give_back_memory()


def _run(config: Config, display: Display, number: int, typed: Sequence[str], sweep: str | None) -> Record:
    folder = RunFolder(config.results / "runs" / identity.signature(config))
    with parallel.locked(folder.path, display.announce):
        record = None if config.rerun else folder.done()
        if record is not None:
            display.note(already_done(record, folder.record_file, digests.changed(record.code)))
        else:
            record = _do(config, folder, display, devices.pick(config.device, number), typed, sweep)
        if config.samples and files.read_table(folder.path / per_sample.NAME) is None:
            with memory_told(config):
                per_sample.write(config, folder, lambda data: obtain_teacher(config, data, display))
    for line in summary_lines(record, folder.record_file):
        display.note(line)
    return record


def _do(
    config: Config, folder: RunFolder, display: Display, device: torch.device, typed: Sequence[str], sweep: str | None
) -> Record:
    """Train, measure and write everything down, whatever happens."""
    require(config.tracking)
    before = folder.read()
    parallel.wait()  # until every process has read the record
    if config.rerun and (before is None or before.status != "running"):  # which one that has begun to repeat it is
        folder.forget()
    files.remove_old_parts(config.results)
    devices.make_deterministic(device, config.threads, config.precision)
    display.log = folder.append_log
    record = facts.of_run(config, folder, device, typed, sweep)
    folder.write_config(config.values)
    folder.write(record)
    tracker = Tracker(config.tracking, record, config.results, display.note, config.rerun)
    started = time.perf_counter()
    story = Story(config, folder, display, tracker, record)
    try:
        with memory_told(config):
            story.tell(device)
        story.record = story.record.but(status="complete")
    except stopping.Stopped:
        display.stop()
        raise  # half done, as the record says: "running", and nobody works on it
    except BaseException as error:
        display.stop()
        reason = str(error) if isinstance(error, UserError) else traceback.format_exc()
        status = "diverged" if isinstance(error, Diverged) else "failed"
        story.record = story.record.but(status=status, error=reason)
        folder.append_log(reason)
        raise
    finally:
        seconds = {**story.record.timing, "this_call_seconds": time.perf_counter() - started}
        story.record = story.record.but(finished=facts.now(), timing=seconds)
        try:
            folder.write(story.record)
            if parallel.is_main():
                folder.done()  # nobody goes on from its checkpoint any more
        except UserError:
            if story.record.status == "complete":  # otherwise the first error is the one to tell
                raise
        finally:
            tracker.finish(story.record)
    return story.record


class Story:
    """Data, teacher, selection, training, evaluation; `record` grows as they come."""

    def __init__(self, config: Config, folder: RunFolder, display: Display, tracker: Tracker, record: Record) -> None:
        self.config = config
        self.folder = folder
        self.display = display
        self.tracker = tracker
        self.record = record

    def tell(self, device: torch.device) -> None:
        config = self.config
        data = load(config.dataset, config.label_noise, config.data_folder).to(device)
        self.record = self.record.but(data=facts.of_data(data, self.record, self.folder))
        teacher = obtain_teacher(config, data, self.display) if config.source == "teacher" else None
        selected = None if config.selection.is_everyone else self._select(config.selection, data, teacher)
        if teacher is not None:
            revision = facts.of_revision(config, teacher, selected)
            self.record = self.record.but(teacher=teacher.facts, revision=revision)
        training = self._train(data, teacher, selected)
        learner = training.learners[0]
        network, name = learner.result, config.student.network
        self.record = self.record.but(
            student=StudentFacts(name, sum(parameter.numel() for parameter in network.parameters())),
            metrics=figures_of_merit.final_figures(training.history, figures_of_merit.fit(learner, data)),
            timing=figures_of_merit.timing(training),
        )
        about = {"epoch": training.epoch, "network": name, "images": data.kept_with_weights}
        files.save(self.folder.student, {"model": network.state_dict(), **about})

    def _train(self, data: Data, teacher: Teacher | None, selected: Tensor | None) -> Training:
        """Train the student, and its peer where there is one."""
        config, display, folder = self.config, self.display, self.folder
        learners = make_learners(config, data, None if teacher is None else lambda: teacher.network)
        source = None if teacher is None else teacher.source(learners[0].objective.distiller)
        recorder = capture.recorder(data.device, config.capture)
        training = Training(learners, data, config.recipe, config.seed, source, selected, recorder)
        title = f"{self.record.label.method} {config.student.network}"
        epochs = training.epochs

        def restored(history: list[Row]) -> None:
            folder.write_history(history)
            display.start(title, epochs, len(history))
            for row in history:
                self.tracker.log(row)

        def after_epoch(row: Row) -> None:
            folder.write_history(training.history)
            self.tracker.log(row)
            display.epoch(row)
            if (said := figures_of_merit.explosion(training)) is not None:
                display.note(said)

        display.start(title, epochs, 0)
        train_in(
            folder.path,
            training,
            evaluate=lambda: figures_of_merit.evaluate(learners, data, None if teacher is None else teacher.outputs),
            snapshots_after=snapshot_epochs(config.snapshots, epochs),
            on_restored=restored,
            on_epoch=after_epoch,
        )
        display.stop()
        return training

    def _select(self, selection: Selection, data: Data, teacher: Teacher | None) -> Tensor:
        """Which samples the source may teach, (N,) 0/1 float on the device; kept as selected.csv."""
        ties = torch.zeros(len(data.train), dtype=torch.float64)  # without a teacher: the seeded order of ties decides
        mask = selection.mask(ties if teacher is None else teacher.selection_scores(selection))
        self.record = self.record.but(selection=facts.of_selection(self.config, mask, data, self.folder))
        return mask.to(device=data.device, dtype=torch.float32)


def obtain_teacher(config: Config, data: Data, display: Display) -> Teacher:
    """The teacher of a run; trains it with its own recipe if this is the first time it is needed."""
    known = identity.teacher_identity(config)
    folder = config.teachers / digests.of_values(known)
    return Teacher(Wanted(config.teacher, known, folder, config.data_folder, config.capture == "auto"), data, display)


@contextlib.contextmanager
def memory_told(config: Config) -> Iterator[None]:
    """Where memory ends inside, say what was too large, and what to lower."""
    try:
        yield
    except Exception as error:
        if not devices.is_out_of_memory(error):
            raise
        others = {"teacher": config.teacher.network, "peer": config.peer.network, "none": None}
        beside = others[config.source]
        less = "recipe.batch_size" + (", teacher.recipe.batch_size" if config.source == "teacher" else "")
        raise UserError(
            f"out of memory on {devices.pick(config.device).type}: {config.student.network}"
            f"{f' with its {config.source} {beside}' if beside else ''}, batches of {config.recipe.batch_size} images; "
            f"lower {less}, or give precision=bfloat16 or a smaller network; what was trained before is kept"
        ) from error


def snapshot_epochs(count: int, epochs: int) -> set[int]:
    """Epochs (from 1) after which a snapshot is kept: `count` of them, evenly from the first to before the last."""
    return {round(1 + i * (epochs - 1) / count) for i in range(count)}

"""What a person sees while a run works: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kd_experiments.errors import shortened
from kd_experiments.tracking.words import duration
from kd_experiments.training import parallel

_SHOWN = (("val_top1", "val {:.1f} %"), ("test_top1", "test {:.1f} %"))
BAR, LEFT = 16, 13  # characters of the bar, and of the longest `12.5 days left`


class Display:
    """Shows the epochs of one training after another; every line also goes to the run's log file."""

    def __init__(self, console: Console | None = None, one_of_many: bool = False) -> None:
        """`one_of_many`: a job of a sweep, which shows a bar on a terminal and leaves the rest to the log."""
        self.console = console or Console(highlight=False, soft_wrap=True, quiet=not parallel.is_main())
        self.log: Callable[[str], None] = lambda line: None  # where every line goes besides
        self._prints = not one_of_many
        self._bar: Progress | None = None
        self._title = ""
        self._epochs = 0
        self._started = 0.0
        self._first = 0

    def note(self, text: str) -> None:
        """One line for the person and the log."""
        if self._prints:
            self.announce(text)
        else:
            self.log(text)

    def announce(self, text: str) -> None:
        """A line that a job of a sweep prints, too: for whom it waits."""
        self.log(text)
        self.console.print(text, markup=False)

    def start(self, title: str, epochs: int, done: int) -> None:
        """Begin showing a training of `epochs` epochs, `done` of them already done."""
        self.stop()
        self._title, self._epochs, self._first = title, epochs, done
        self._started = time.perf_counter()
        if done:
            self.note(f"{title}: resuming after epoch {done} of {epochs}")
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=BAR),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            room = self.console.width - BAR - 2 * len(str(epochs)) - 1 - LEFT - 3
            self._bar.add_task(shortened(title, max(room - 3, 1)), total=epochs, completed=done, figures="")

    def epoch(self, row: dict[str, float]) -> None:
        """Show one finished epoch."""
        done = int(row["epoch"]) + 1
        seconds = (time.perf_counter() - self._started) / max(done - self._first, 1) * (self._epochs - done)
        left = f"{duration(seconds)} left"
        title = f"{self._title}: epoch {done}/{self._epochs}"
        self.log(", ".join([title, *_figures(row)[0], left]))
        if self._bar is not None:
            bar = self._bar.tasks[0]
            counts = 2 * len(str(self._epochs)) + 1  # which rich pads the epoch to
            room = self.console.width - cell_len(bar.description) - BAR - counts - 4
            self._bar.update(bar.id, completed=done, figures=fitting(row, left, room))
        elif self._prints and (
            done == self._epochs or done - self._first == 1 or done % max(1, self._epochs // 10) == 0
        ):
            self.console.print(f"{title}, {fitting(row, left, self.console.width - cell_len(title) - 2)}", markup=False)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def fitting(row: Mapping[str, float], left: str, room: int) -> str:
    """The figures of an epoch and the time left in at most `room` characters, the least telling ones given up first:
    the terms of the loss, the images a second, the loss, the accuracies. The time left is never given up.
    """
    for figures in _figures(row):
        text = ", ".join([*figures, left])
        if len(text) <= room:
            return text
    return left


def _figures(row: Mapping[str, float]) -> list[list[str]]:
    """What may be told of an epoch, from everything to little."""
    terms = {name.removeprefix("loss_"): value for name, value in row.items() if name.startswith("loss_")}
    listed = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
    loss = [f"loss {row['loss']:.3f}"]
    full = [f"{loss[0]} ({listed})"] if len(terms) > 1 else loss
    scores = [text.format(row[name]) for name, text in _SHOWN if name in row]
    speed = [f"{row['images_per_second']:.0f} images/s"] if "images_per_second" in row else []
    return [full + scores + speed, loss + scores + speed, loss + scores, scores, scores[-1:]]

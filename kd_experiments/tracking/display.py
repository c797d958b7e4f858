"""What a person sees while a run works: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kd_experiments.training import parallel

_SHOWN = (("val_top1", "val {:.1f} %"), ("test_top1", "test {:.1f} %"), ("images_per_second", "{:.0f} images/s"))


class Display:
    """Shows the epochs of one training after another; every line also goes to the run's log file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True, quiet=not parallel.is_main())
        self.log: Callable[[str], None] = lambda line: None  # where every line goes besides
        self._bar: Progress | None = None
        self._title = ""
        self._epochs = 0
        self._started = 0.0
        self._first = 0

    def note(self, text: str) -> None:
        """One line for the person and the log."""
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
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(title, total=epochs, completed=done, figures="")

    def epoch(self, row: dict[str, float]) -> None:
        """Show one finished epoch."""
        done = int(row["epoch"]) + 1
        left = (time.perf_counter() - self._started) / max(done - self._first, 1) * (self._epochs - done)
        shown = [_losses(row), *(text.format(row[name]) for name, text in _SHOWN if name in row), f"{left:.0f} s left"]
        figures = ", ".join(shown)
        line = f"{self._title}: epoch {done}/{self._epochs}, {figures}"
        self.log(line)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, figures=figures)
        elif done == self._epochs or done - self._first == 1 or done % max(1, self._epochs // 10) == 0:
            self.console.print(line, markup=False)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _losses(row: dict[str, float]) -> str:
    """The loss, and its terms where there are several."""
    terms = {name.removeprefix("loss_"): value for name, value in row.items() if name.startswith("loss_")}
    listed = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
    return f"loss {row['loss']:.3f}" + (f" ({listed})" if len(terms) > 1 else "")

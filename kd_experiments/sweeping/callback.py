"""The sweep this process has launched, and what became of its jobs, whichever launcher ran them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from kd_experiments import stopping
from kd_experiments.cli import guard
from kd_experiments.cli.expanding import expand, laid_over
from kd_experiments.sweeping.outcome import began, read_outcome
from kd_experiments.sweeping.run_status import is_running

# A launcher's worker imports this module before it composes its job.
guard.install()
stopping.in_worker()

Became = Literal["done", "skipped", "diverged", "failed", "running", "not run"]
_WORDS: dict[Became, str] = {"skipped": "skipped, complete already", "running": "still running"}  # others as they are


class SweepReport(Callback):
    """Hydra's callback that remembers the sweep: Hydra tells nobody else where its folder is."""

    current: ClassVar[SweepReport | None] = None

    def __init__(self) -> None:
        self.folder = Path()
        self.jobs: list[str] | None = None
        self.results = Path("results")
        self.name: str | None = None  # of its file

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweeper = config.hydra.sweeper
        self.folder = Path(config.hydra.sweep.dir).absolute()
        if sweeper._target_.endswith(".BasicSweeper"):  # others choose their jobs as they go
            typed = config.hydra.overrides.task
            jobs = expand(laid_over(guard.params_of(config), typed))
            with read_write(config.hydra), open_dict(config.hydra):  # the sweeper is made from this after the callback
                for key in {word.partition("=")[0] for word in typed} & set(sweeper.params or {}):
                    del sweeper.params[key]
            shared = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
            self.jobs = [" ".join(value for value in job if value not in shared) for job in jobs]
        self.results = Path(config.paths.results)
        self.name = config.hydra.runtime.choices.get("sweeps")
        began(self.folder, self.jobs)
        stopping.sweeping(lambda: any(self._became(number)[0] == "running" for number in self._numbers_found()))
        SweepReport.current = self

    @property
    def began(self) -> bool:
        """Has any job begun? Otherwise the sweep was refused as a whole."""
        return bool(self._numbers_found())

    def signatures(self) -> set[str]:
        """Of the runs that its jobs made or found done."""
        outcomes = (read_outcome(self.folder / str(number)) for number in self._numbers_found())
        return {Path(one.run).name for one in outcomes if one is not None and one.run is not None}

    def summary(self) -> tuple[list[str], bool]:
        """Lines for a person, and whether every run of the sweep is complete."""
        numbers = self._numbers_found() if self.jobs is None else list(range(len(self.jobs)))
        counts: dict[Became, int] = dict.fromkeys(get_args(Became), 0)
        told = []
        for number in numbers:
            became, reason = self._became(number)
            counts[became] += 1
            if reason is not None:
                what = f"job {number}" if self.jobs is None else self.jobs[number]
                told.append(f"  failed: {what}: {reason}")
        counted = ", ".join(f"{count} {_WORDS.get(became, became)}" for became, count in counts.items() if count)
        complete = counts["done"] + counts["skipped"] + counts["diverged"] == len(numbers)
        again = [] if complete else ["  the same command again runs what is missing, and nothing else"]
        return ["", f"sweep of {len(numbers)} runs: {counted}", *told, *again], complete

    def _numbers_found(self) -> list[int]:
        folders = (path.parent.name for path in self.folder.glob("*/outcome.json"))
        return sorted(int(name) for name in folders if name.isdecimal())

    def _became(self, number: int) -> tuple[Became, str | None]:
        """What became of a job; with a reason if it failed."""
        outcome = read_outcome(self.folder / str(number))
        if outcome is None:
            return "not run", None
        if outcome.status == "failed":
            return "failed", f"{outcome.reason} (log: {outcome.log})" if outcome.log else outcome.reason
        if outcome.status != "started":
            return outcome.status, None
        run = Path(outcome.run or "")
        if is_running(run):
            return "running", None
        return "failed", f"ended without a word, as when killed, preempted or out of memory (log: {run / 'run.log'})"

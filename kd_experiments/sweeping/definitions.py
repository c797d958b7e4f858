"""What the files below `sweeps/` define: the runs, their signatures, and the table they make.

A file names its runs in one setting. What is typed beside it is laid over: `+sweeps=lrds_ratio
experiment=small/fashion_mnist seed=0,1,2,3,4` is the same table in another setting with other seeds. A key that the
file sweeps takes the typed values in place of its own; any other key is the same for all runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from kd_experiments import files, own_code
from kd_experiments.cli.expanding import expand, laid_over
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.places import PACKAGE, config_folders, files_below, git, sweep_folders

if TYPE_CHECKING:
    from kd_experiments.config import Config


T = TypeVar("T")
METRICS = ("test_top1", "val_top1")  # what a sweep's table may show


@dataclass(frozen=True)
class TableLayout:
    """Which swept keys make the rows and the columns; cells are aggregated over the seed.

    `reference` names what each cell is compared with: the cell with the same coordinates but these. What is chosen by
    a sweep is chosen on val: `metric` is then `val_top1`.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    reference: Mapping[str, str]
    metric: str = "test_top1"


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its values of the swept keys, in the order of the file, and its signature."""

    overrides: Mapping[str, str]
    signature: str


class Named:
    """A sweep by its name and what is laid over it."""

    name: str
    over: tuple[str, ...]

    @property
    def words(self) -> str:
        return " ".join([self.name, *self.over])

    @property
    def command(self) -> str:
        """What runs all that is missing."""
        return " ".join(["python -m kd_experiments --multirun", f"+sweeps={self.name}", *map(shlex.quote, self.over)])


@dataclass(frozen=True)
class Sweep(Named):
    """One file below `sweeps/`; `title` and `paper` stand in the comment at its head, `over` is laid over it."""

    name: str
    title: str
    paper: str
    table: TableLayout
    jobs: tuple[Job, ...]
    over: tuple[str, ...] = ()


def names() -> list[str]:
    """Every sweep, as `+sweeps=NAME` takes it."""
    return list(_files())


def _files() -> dict[str, Path]:
    return files_below(sweep_folders())


def _path(name: str) -> Path:
    if name not in names():
        raise no_such_choice("+sweeps", name, names())
    return _files()[name]


def read(name: str, results: Path | None = None, over: Sequence[str] = ()) -> Sweep:
    """The sweep of this name with `over` laid over it; `UserError` for an unknown one.

    Composing takes the better part of a tenth of a second for every combination of choices. With `results`, what came
    out is kept below that folder, for as long as neither the configuration files, nor the sweep's, nor the package
    change.
    """
    path = _path(name)
    kept = None if results is None else results / "sweeps" / f"{'-'.join([name, *filter(None, [_brief(over)])])}.json"
    made_from = _digest(name) + _brief(over)
    known = None if kept is None else _read_kept(kept, made_from)
    if known is not None:
        return known
    with _told_of(path):
        sweep = _compose_all(name, over)
    if kept is not None:
        files.write_json(kept, {"made_from": made_from, "sweep": asdict(sweep)})
    return sweep


@dataclass(frozen=True)
class Outline(Named):
    """What a sweep's file says by itself: nothing is composed, so nothing is known of signatures."""

    name: str
    title: str
    paper: str
    table: TableLayout
    jobs: tuple[Mapping[str, str], ...]  # values of the swept keys
    over: tuple[str, ...] = ()


def outline(name: str, over: Sequence[str] = ()) -> Outline:
    """The sweep of this name with `over` laid over it, from its file alone; `UserError` for an unknown one."""
    path = _path(name)
    with _told_of(path):
        content = _content(path)
        swept = _swept(content)
        jobs = _values_of(swept)
        layout = _layout(content.get("table") or {}, jobs)
        if over:
            jobs = _values_of(laid_over(swept, over)[: len(swept)])
            layout = _narrowed(layout, jobs)
        return Outline(name, *_head(path), layout, tuple(jobs), tuple(over))


def swept_values(name: str) -> dict[str, list[str]]:
    """The keys that a sweep's file sweeps, each with its values in the order of the file."""
    path = _files()[name]
    with _told_of(path):
        return {
            text.partition("=")[0]: [job[0].partition("=")[2] for job in expand([text])]
            for text in _swept(_content(path))
        }


def _values_of(swept: Sequence[str]) -> list[dict[str, str]]:
    return [dict(text.split("=", 1) for text in job) for job in expand(swept)]


def refuse_wrong(name: str, typed: Sequence[str]) -> None:
    """`UserError` if a file below `sweeps/`, with what is typed besides, defines a run that cannot be.

    What comes with the package, and is as it came, is known to be right: of that, the first run shows what is typed.
    """
    path = _path(name)
    chooses = any(word.startswith("hydra/sweeper=") for word in typed) or "hydra/sweeper" in path.read_text()
    outline(name)
    if chooses:  # another sweeper chooses the values as it goes
        return
    more = [word for word in typed if "=" in word and not word.startswith(("+sweeps=", "hydra", "imports="))]
    jobs = expand(laid_over(_swept(_content(path)), more))
    if _is_as_it_came(path):
        jobs = jobs[:1]
    from kd_experiments.cli.composing import composer
    from kd_experiments.private import files_read_once

    with _told_of(path), composer(), files_read_once():
        _each(name, jobs, lambda config: None)


def _is_as_it_came(path: Path) -> bool:
    """Is it in the installed wheel, or in the checkout's last commit as it stands?"""
    if path.is_relative_to(PACKAGE):
        return True
    return (
        git("ls-files", "--error-unmatch", "--", str(path)) is not None and git("status", "-s", "--", str(path)) == ""
    )


def _content(path: Path) -> Any:
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _swept(content: Any) -> list[str]:
    """`hydra.sweeper.params` of a file, as overrides."""
    for key in ("hydra", "sweeper", "params"):
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or not content:
        raise UserError("holds no hydra.sweeper.params; write the swept keys with their values there")
    return [f"{key}={value}" for key, value in content.items()]


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Whatever is wrong with a sweep's file is told in one sentence that names it."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except Exception as error:  # a file of somebody's own can be wrong in any way
        from kd_experiments.cli.hydra_errors import explain

        said = explain(error, ()) or f"cannot be read as a sweep ({type(error).__name__}: {error})"
        raise UserError(f"{path}: {' '.join(said.split())}") from error


def _read_kept(path: Path, made_from: str) -> Sweep | None:
    """What an earlier call kept, unless it was made from other files."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = files.read_json(path) or {}
        if content["made_from"] == made_from:
            sweep = content["sweep"]
            layout = {key: tuple(sweep["table"][key]) for key in ("rows", "columns")}
            table = TableLayout(**sweep["table"] | layout)
            jobs = tuple(Job(**job) for job in sweep["jobs"])
            return Sweep(**sweep | {"table": table, "jobs": jobs, "over": tuple(sweep["over"])})
    return None


def _digest(name: str) -> str:
    """Names everything the signatures of a sweep depend on: its file, the configuration files and the package."""
    return hashlib.sha256(_digest_of_all() + (_files()[name]).read_bytes()).hexdigest()


@cache
def _digest_of_all() -> bytes:
    content = hashlib.sha256()
    told_only = (PACKAGE / "reporting", PACKAGE / "tracking")  # what these say about runs defines none
    for root in (*config_folders(), PACKAGE, *own_code.packages()):
        for path in sorted({*root.rglob("*.yaml"), *root.rglob("*.py")}):
            if any(path.is_relative_to(folder) for folder in told_only):
                continue
            content.update(f"{path}\n".encode() + path.read_bytes())
    return content.digest()


def _compose_all(name: str, over: Sequence[str]) -> Sweep:
    from kd_experiments.identity import signature

    told = outline(name, over)
    made = tuple(map(Job, told.jobs, each_run(name, over, signature)))
    return Sweep(name, told.title, told.paper, told.table, made, told.over)


def each_run(name: str, over: Sequence[str], ask: Callable[[Config], T]) -> list[T]:
    """What `ask` says of the checked configuration of every run of a sweep with `over` laid over it, in order."""
    from kd_experiments.cli.composing import composer
    from kd_experiments.private import files_read_once

    jobs = outline(name, over).jobs
    same = [word for word in over if word.partition("=")[0] not in jobs[0]]
    with composer(), files_read_once():
        return _each(name, [[*(f"{key}={value}" for key, value in job.items()), *same] for job in jobs], ask)


def _each(name: str, jobs: Sequence[Sequence[str]], ask: Callable[[Config], T]) -> list[T]:
    """What `ask` says of the checked configuration of every job, in order.

    Composing is slow, so it is done once for every combination of choices. Jobs of one sweep set the same keys; hence
    the others, which are plain values, can be written into the composed configuration one job after another.
    """
    from hydra import compose
    from omegaconf import OmegaConf

    from kd_experiments import private
    from kd_experiments.config import check

    is_choice = cache(lambda group: bool(private.group_choices(group)))
    known = dict(zip(texts := sorted({text for job in jobs for text in job}), private.parsed(texts), strict=True))

    def divide(job: Sequence[str]) -> tuple[tuple[str, ...], list[Any]]:
        choices = tuple(text for text in job if is_choice(known[text].key_or_group))
        return choices, [known[text] for text in job if text not in choices]

    divided = [divide(job) for job in jobs]
    found: dict[int, T] = {}
    in_order = sorted(range(len(jobs)), key=lambda place: divided[place][0])
    for choices, places in itertools.groupby(in_order, key=lambda place: divided[place][0]):
        config = compose("config", [*choices, f"+sweeps={name}"])
        for place in places:
            private.write_values(divided[place][1], config)
            given: Any = OmegaConf.to_container(config, resolve=True)
            try:
                found[place] = ask(check(given))
            except UserError as error:
                raise UserError(f"{error} (in the run {' '.join(jobs[place])})") from error
    return [found[place] for place in range(len(jobs))]


def _layout(given: Mapping[str, Any], jobs: Sequence[Mapping[str, str]]) -> TableLayout:
    """The `table:` of the file; by default the first swept key makes the rows and all others the columns."""
    swept = {key: {job[key] for job in jobs} for key in jobs[0] if key != "seed"}
    content = dict(given)
    rows = tuple(content.pop("rows", list(swept)[:1]))
    columns = tuple(content.pop("columns", [key for key in swept if key not in rows]))
    reference = {str(key): str(value) for key, value in content.pop("reference", {}).items()}
    metric = content.pop("metric", METRICS[0])
    if metric not in METRICS:
        raise UserError(f"table.metric: {metric} is none of {', '.join(METRICS)}")
    if content or sorted([*rows, *columns]) != sorted(swept):
        raise UserError("table: rows and columns must together be the swept keys but the seed")
    for key, value in reference.items():
        if value not in swept.get(key, ()):
            raise UserError(f"table.reference: {key}={value} is not one of the sweep's values")
    return TableLayout(rows, columns, reference, metric)


def _narrowed(layout: TableLayout, jobs: Sequence[Mapping[str, str]]) -> TableLayout:
    """Without the keys that have one value by now, and without a reference that is none of the values."""
    values = {key: {job[key] for job in jobs} for key in jobs[0]}
    rows, columns = (tuple(key for key in keys if len(values[key]) > 1) for keys in (layout.rows, layout.columns))
    kept = {key: value for key, value in layout.reference.items() if key in (*rows, *columns)}
    known = all(value in values[key] for key, value in kept.items())
    return TableLayout(rows or layout.rows, columns, kept if known else {}, layout.metric)


def _brief(over: Sequence[str]) -> str:
    """A file name's part that tells what is laid over from anything else; empty for nothing."""
    return hashlib.sha256("\n".join(over).encode()).hexdigest()[:8] if over else ""


def _head(path: Path) -> tuple[str, str]:
    """Title and paper, from the second line on: `# what it is`, then perhaps `# Paper: ...` and `# Size: ...`."""
    title, *rest = list(_comment(path))[1:] or [""]
    paper = re.search(r"Paper: (.+?)(?: Size: |$)", " ".join(rest))
    return title, paper.group(1) if paper else ""


def _comment(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").strip()

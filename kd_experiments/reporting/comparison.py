"""Tables of one setting: every method that was run in it, with its difference to a reference paired by seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kd_experiments.reporting.columns import ACCURACY, COST, machine, present, unshown
from kd_experiments.reporting.commands import command as command_of
from kd_experiments.reporting.commands import is_plain
from kd_experiments.reporting.published import TEACHER, Published, Sources, published
from kd_experiments.reporting.records import PRIMARY, Run, Setting, method_keys
from kd_experiments.reporting.statistics import Difference, Spread, holm, paired_difference, seen_differences, spreads
from kd_experiments.reporting.table import Cell, Column, Table, table, words

REFERENCES = ("kd", "none")  # the first of these that was run is what methods are compared with


@dataclass(frozen=True)
class Row:
    """One method with all its seeds."""

    label: str
    runs: Sequence[Run]
    figures: Mapping[str, Spread]
    difference: Difference | None  # to the reference
    star: bool
    published: Sequence[Published]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


@dataclass(frozen=True)
class Comparison:
    """The methods of one setting, the baseline first, then the reference, then the others by name."""

    setting: Setting[Run]
    reference: str | None
    rows: Sequence[Row]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.setting.runs})


def compare(setting: Setting[Run], references: Sequence[str] = REFERENCES) -> Comparison:
    """Differences are to the first of `references`, names of methods, that was run in the setting."""
    variants = _variants(setting.runs)
    labels = _labels(variants)
    order = sorted(variants, key=lambda variant: (_place(labels[variant]), labels[variant]))
    reference = _reference(variants, labels, references)
    differences = [
        None
        if reference is None or variant == reference
        else paired_difference(by_seed(variants[variant]), by_seed(variants[reference]))
        for variant in order
    ]
    teacher = setting.teacher["network"] if setting.teacher else None
    rows = [
        Row(
            label=labels[variant],
            runs=variants[variant],
            figures=spreads([run.figures() for run in variants[variant]]),
            difference=difference,
            star=star,
            published=_published(variants[variant][0], teacher),
        )
        for variant, difference, star in zip(order, differences, holm(differences), strict=True)
    ]
    return Comparison(setting, None if reference is None else labels[reference], rows)


def accuracy_table(comparison: Comparison, references: Sequence[str] = REFERENCES) -> Table:
    """Everything but what depends on the machine."""
    setting, rows = comparison.setting, comparison.rows
    taught = [row.figures for row in rows]
    known = [*_teacher_figures(setting), *taught]
    bare = [Cell()] * (len(known) - len(rows))  # what the teacher's row has nothing to say on
    sources = Sources()
    quoted = [sources.quote(numbers) for numbers in [*_teacher_published(setting), *(row.published for row in rows)]]
    gaps = [Cell(difference=row.difference, star=row.star, reference=row.label == comparison.reference) for row in rows]
    gap_title = f"difference to {comparison.reference} [95 %]" if comparison.reference else "difference"
    first, *others = (
        Column(figure.key, figure.title, [figure.cell(found.get(figure.key)) for found in known])
        for figure in present(ACCURACY, taught)
    )
    columns = [*_label_columns(comparison), first, Column("difference", gap_title, [*bare, *gaps])]
    if any(quoted):
        columns.append(Column("published", "published, top-1 (%)", words(quoted)))
    seeds = [*bare, *words(" ".join(map(str, row.seeds)) for row in rows)]
    return table(
        setting.slug,
        setting.title,
        "setting",
        [*columns, *others],
        notes=[*_notes(comparison), *sources.notes()],
        missing=_missing(comparison, references),
        unshown={"seeds": seeds} | unshown(known, [first.key, *(column.key for column in others)]),
    )


def cost_table(comparison: Comparison) -> Table:
    """Time and memory, which depend on the machine and on what else it does."""
    setting, rows = comparison.setting, comparison.rows
    known = [*_teacher_figures(setting), *(row.figures for row in rows)]
    machines = [Cell()] * (len(known) - len(rows)) + words(machine(row.runs) for row in rows)
    columns = [
        Column(figure.key, figure.title, [figure.cell(found.get(figure.key)) for found in known])
        for figure in present(COST, known)
    ]
    columns = [*_label_columns(comparison), *columns, Column("machine", "machine", machines)]
    return table(f"{setting.slug}-cost", f"Cost, {setting.title}", "cost", columns, [COST_NOTE])


def _label_columns(comparison: Comparison) -> list[Column]:
    teacher = comparison.setting.teacher
    labels = [f"teacher {teacher['network']}"] if teacher else []
    counts = [1] if teacher else []
    return [
        Column("method", "method", words([*labels, *(row.label for row in comparison.rows)])),
        Column("n", "n", words([*counts, *(len(row.runs) for row in comparison.rows)])),
    ]


def _teacher_figures(setting: Setting[Run]) -> list[dict[str, Spread]]:
    """Of the teacher, under the names they have for students; it is one network, so n is 1. None without one."""
    teacher = setting.teacher
    if teacher is None:
        return []
    found = {f"test_{name}_last": teacher.get(f"test_{name}") for name in ("top1", "top5", "nll", "ece")}
    found |= {"train_top1_last": teacher.get("train_top1"), "train_seconds": teacher.get("train_seconds")}
    return [{name: Spread(float(value), math.nan, 1) for name, value in found.items() if value is not None}]


def _teacher_published(setting: Setting[Run]) -> list[Sequence[Published]]:
    teacher = setting.teacher
    return [] if teacher is None else [published(setting.config, teacher["network"], TEACHER)]


COST_NOTE = (
    "Mean ± sample standard deviation over n runs. Times are those of the machine named, whatever else it was doing; "
    "peak memory is the whole process's, earlier runs of the same process included."
)


def by_seed(runs: Sequence[Run], figure: str = PRIMARY) -> dict[int, float]:
    return {run.seed: run.figures()[figure] for run in runs}


def spread_note(seeds: Sequence[int]) -> str:
    return f"Mean ± sample standard deviation over n seeds ({', '.join(map(str, seeds))})."


def difference_notes(reference: str, differences: Sequence[Difference | None]) -> list[str]:
    """How differences are to be read, and how large they would have to be to be seen."""
    tested = sum(found is not None and found.n > 1 for found in differences)
    if not tested:
        return [f"Differences to {reference} are of one seed each: nothing says how far another seed would be from it."]
    notes = [
        f"Differences to {reference} are paired by seed, with Student's 95 % interval; bold where it excludes "
        f"0; * where that stays after Holm's correction over the {tested} differences of this table (5 %)."
    ]
    seen = seen_differences(differences)
    if seen:
        listed = ", ".join(f"n={n} can see true differences above {least:.2f}" for n, least in seen.items())
        notes.append(
            f"Power: {listed} (with probability 80 %, by the paired t test before correction, at the pooled deviation "
            f"of the paired differences)."
        )
    return notes


def _published(run: Run, teacher: str | None) -> Sequence[Published]:
    config = run.record["config"]
    found = published(config, teacher, run.method)
    return found if found and is_plain(config) else ()


def _notes(comparison: Comparison) -> list[str]:
    notes = [spread_note(comparison.seeds)]
    if comparison.reference:
        notes += difference_notes(comparison.reference, [row.difference for row in comparison.rows])
    teacher = comparison.setting.teacher
    if teacher is not None:
        notes.append(
            f"The teacher has {teacher['train_top1']:.2f} % on the training images, "
            f"{teacher['train_wrong']} of {teacher['train_size']} wrong."
        )
    return notes


def _missing(comparison: Comparison, references: Sequence[str]) -> list[str]:
    missing = []
    for row in comparison.rows:
        lacks = ",".join(str(seed) for seed in comparison.seeds if seed not in row.seeds)
        if lacks:
            command = command_of(row.runs[0].record["config"])
            missing.append(f"{row.label} lacks seed {lacks.replace(',', ', ')}: {command} --multirun seed={lacks}")
    if "kd" in references and all(run.method != "kd" for run in comparison.setting.runs):
        command = command_of(comparison.setting.config, method="kd")
        missing.append(f"difference to KD, which was not run here: {command}")
    return missing


def _variants(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of each method, one a seed: of a run that an older version did too, the later one."""
    found: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: (str(run.record.get("finished")), run.signature)):
        found[run.variant][run.seed] = run
    return {variant: [by_seed[seed] for seed in sorted(by_seed)] for variant, by_seed in found.items()}


def _labels(variants: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Variant -> label: the method's name, and where a name has several variants the keys in which they differ."""
    keys = {variant: method_keys(runs[0].record["config"]) for variant, runs in variants.items()}
    names = {variant: _named(runs[0]) for variant, runs in variants.items()}
    labels = {}
    for variant, own in keys.items():
        namesakes = [keys[other] for other in keys if names[other] == names[variant]]
        differing = [
            key for key in own if any(namesake.get(key) != own[key] for namesake in namesakes) and key != "method.name"
        ]
        # The names of parts first; those of keys inside them follow.
        differing.sort(key=lambda key: not key.endswith(".name"))
        text = ", ".join(f"{key.removesuffix('.name')}={own[key]}" for key in differing)
        labels[variant] = f"{names[variant]} ({text})" if text else names[variant]
    return labels


def _named(run: Run) -> str:
    """The method, and what was plugged into it; older records know no plug-ins."""
    plug_in = run.record["config"].get("plug_in", "none")
    return run.method if plug_in == "none" else f"{run.method} + {plug_in}"


def _reference(
    variants: Mapping[str, Sequence[Run]], labels: Mapping[str, str], references: Sequence[str]
) -> str | None:
    """The variant of the first reference method that was run; of several the one with most seeds."""
    for name in references:
        candidates = sorted(variant for variant, runs in variants.items() if runs[0].method == name)
        if candidates:
            return max(candidates, key=lambda variant: (len(variants[variant]), -len(labels[variant])))
    return None


def _place(label: str) -> int:
    name = label.split(" ", 1)[0]
    return 0 if name == "none" else 1 if name.startswith("none_") else 2 if name == "kd" else 3

"""Average ranks of methods over settings that differ in their networks alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence

from kd_experiments.reporting.comparison import Comparison
from kd_experiments.reporting.records import PRIMARY, data_words, flatten, half_precision, pair_words, training_words
from kd_experiments.reporting.statistics import Spread, average_ranks
from kd_experiments.reporting.table import Cell, Column, Table, table, words


def rank_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """A table for each family of settings with the same data, label noise and length, of at least two settings.

    Only methods that were run in every setting of the family are ranked, so that all ranks are out of the same number.
    """
    families: dict[str, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        families[_family(comparison)].append(comparison)
    tables = [_rank_table(key, members) for key, members in sorted(families.items()) if len(members) > 1]
    return [made for made in tables if made is not None]


def _rank_table(key: str, members: Sequence[Comparison]) -> Table | None:
    means = [{row.label: row.figures[PRIMARY].mean for row in member.rows} for member in members]
    labels = [row.label for row in members[0].rows if all(row.label in mean for mean in means)]
    if len(labels) < 2:
        return None
    ranks = average_ranks([[mean[label] for label in labels] for mean in means])
    ordered = sorted(zip(ranks, labels, strict=True))
    columns = [
        Column("method", "method", words(label for _, label in ordered)),
        Column(
            "average_rank", "average rank", [Cell(value=Spread(rank, math.nan, len(members))) for rank, _ in ordered]
        ),
    ]
    for member, mean in zip(members, means, strict=True):
        cells = [_number(mean[label], 1) for _, label in ordered]
        columns.append(Column(member.setting.slug, _pair(member), cells))
    config = members[0].setting.config
    noise = config["label_noise"]
    parts = ["rank", config["dataset"]["name"], "" if noise["name"] == "none" else noise["name"], key[:6]]
    notes = [
        f"Rank 1 is the highest mean test top-1 at the last epoch (%, shown), of the {len(labels)} methods that were "
        f"run in all {len(members)} settings; ties share their mean rank."
    ]
    one = members[0].setting.runs[0].record
    heading = f"Average rank, {data_words(one)}, {training_words(one)}"
    return table("-".join(filter(None, parts)), heading, "rank", columns, notes)


def _number(value: float, n: int) -> Cell:
    return Cell(value=Spread(value, math.nan, n))


def _pair(member: Comparison) -> str:
    return pair_words(member.setting.runs[0].record, member.setting.teacher)


def _family(comparison: Comparison) -> str:
    config = comparison.setting.config
    recipe = {key: config["recipe"].get(key) for key in ("name", "epochs", "iterations")}
    data = {key: value for key, value in config["dataset"].items() if key not in ("root", "download")}
    content = dict(flatten({"dataset": data, "label_noise": config["label_noise"], "recipe": recipe}, ""))
    content["precision"] = half_precision(comparison.setting.runs[0].record)
    given = {key: value for key, value in content.items() if value is not None}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()

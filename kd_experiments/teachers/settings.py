"""`teacher.*`: which network, how it comes to its weights, and where its answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from kd_experiments.networks.registry import check_name
from kd_experiments.schema import Interval, Positive, Seed, When
from kd_experiments.training.recipe import Recipe


@dataclass(frozen=True)
class TeacherConfig:
    """Either a checkpoint or a recipe to train it with.

    `table` is where its answers about every view are kept: `disk`, shared by all runs with this teacher; `memory` of
    the device, for one run; `off`, nowhere; `auto`, on disk if it fits `table_budget` GiB, else nowhere. float16 halves
    it, and rounds the teacher's logits.
    """

    network: str
    checkpoint: str | None
    seed: Annotated[Seed, When(checkpoint=None)]
    mean: tuple[float, ...] | None  # of the images a checkpoint was trained on, in [0, 1]; null: the data set's
    std: tuple[Positive, ...] | None
    seen_val: Literal["unknown", True, False]  # was a checkpoint trained on the images that are held out as val here?
    # kept along the training, for selection=tracin
    snapshots: Annotated[int, Interval(at_least=0, at_most=10_000), When("teacher snapshots", checkpoint=None)]
    table: Literal["auto", "memory", "disk", "off"]
    table_dtype: Annotated[Literal["float32", "float16"], When("teacher logits")]
    table_budget: Positive
    recipe: Annotated[Recipe, When(checkpoint=None)]

    def __post_init__(self) -> None:
        check_name("teacher.network", self.network)

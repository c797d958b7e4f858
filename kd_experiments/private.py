"""Every private interface of Hydra, OmegaConf and torch that the suite relies on, in one place.

None of them is promised to stay. `tests/test_private.py` lists them with the version each was last seen in, looks them
all up, and names this file when one is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig
    from omegaconf.basecontainer import BaseContainer
    from torch import Tensor


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them; raises what Hydra raises."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(list(overrides))


def product(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every job, as Hydra's own sweeper makes them: the product of all values."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    (jobs,) = BasicSweeper.split_arguments(parsed(overrides), max_batch_size=None)
    return jobs


def job_count(overrides: Sequence[str]) -> float:
    """How many jobs `product` would make of them; infinite where a range never ends."""
    import math

    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    total = 1.0
    for value in (override.value() for override in parsed(overrides) if override.is_sweep_override()):
        if isinstance(value, ChoiceSweep):
            total *= len(value.list)
        elif isinstance(value, RangeSweep):
            start, stop, step = float(value.start or 0), float(value.stop or 0), float(value.step)
            steps = (stop - start) / step if step else math.inf
            total *= max(0, math.ceil(steps)) if math.isfinite(steps) else math.inf
    return total


def write_values(overrides: list[Override], config: DictConfig) -> None:
    """Write plain values into a composed configuration, as Hydra does when it composes."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def group_choices(group: str) -> list[str]:
    """The choices of a config group; none where there is no such group. Inside `composer()` alone."""
    from hydra.core.global_hydra import GlobalHydra

    return GlobalHydra.instance().config_loader().get_group_options(group, results_filter=None)


@contextmanager
def files_read_once() -> Iterator[None]:
    """Inside, Hydra reads every configuration file once, not once for every configuration it composes."""
    import copy
    from unittest.mock import patch  # sets an attribute and puts it back

    from hydra._internal.config_repository import ConfigRepository

    load = ConfigRepository.load_config
    known: dict[str, Any] = {}

    def remembered(self: ConfigRepository, config_path: str) -> Any:
        if known.get(config_path) is None:
            known[config_path] = load(self, config_path)
        return copy.deepcopy(known[config_path])

    with patch.object(ConfigRepository, "load_config", remembered):
        yield


def loading_classes() -> tuple[Any, Any]:
    """Hydra's classes that compose a configuration (`load_configuration`, part by part `_load_single_config`) and read
    its files (`load_config`).
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository

    return ConfigLoaderImpl, ConfigRepository


def share_the_store() -> None:
    """Let Hydra compose from the store of all that code has registered, not from a copy of it for each composition.

    Hydra copies the repository since it may name other places to look in, and in it the store: every network, a sixth
    of all composing. Composing only reads the store.
    """
    import copy

    from hydra._internal.config_repository import ConfigRepository

    ConfigRepository.__deepcopy__ = lambda repository, known: copy.copy(repository)  # type: ignore[attr-defined]


def source_of_file(repository: Any, config_path: str) -> Any:
    """Where a repository would read a configuration file; None if nowhere."""
    from hydra.core.object_type import ObjectType

    return repository._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)


def has_no_value(node: Any) -> bool:
    """Is a container of a configuration None, missing, or an interpolation that stands in its place?"""
    return bool(node._is_none() or node._is_missing() or node._is_interpolation())


def raw_node(container: Any, name: Any) -> Any:
    """A node as it is written, its interpolation not resolved."""
    return container._get_node(name, validate_access=False)


def full_key(node: BaseContainer) -> str:
    """Where a node stands in its configuration, such as `teacher.recipe`."""
    return str(node._get_full_key(None))


def move_towards(averages: list[Tensor], current: list[Tensor], weight: Tensor) -> None:
    """Move all `averages` in place by `weight` (), of the way to `current`, in a few kernels."""
    import torch

    change = torch._foreach_sub(current, averages)
    torch._foreach_mul_(change, weight)
    torch._foreach_add_(averages, change)


def end_workers(batches: Any) -> None:
    """End the processes of a DataLoader's iterator at once, not when the last mention of it is forgotten."""
    batches._shutdown_workers()
    for worker in batches._workers:  # which take no SIGTERM: one that hangs is still there
        if worker.is_alive():
            worker.kill()

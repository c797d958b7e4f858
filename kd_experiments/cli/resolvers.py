"""What Hydra is told: the user's own folders, config groups that need no files (every network is a teacher, a student
and a peer), and values that follow them.

A value may depend on the networks that were chosen. It then stands in the YAML file as a small table, read from the
top, whose last entry is for all others:

    beta: "${by_pair:
      'resnet56 -> resnet20',  2.0,
      'wrn_* -> wrn_*',        6.0,
      8.0}"

`by_pair` goes by teacher and student, `by_network` by the network a recipe trains, `by_data` by the data set,
`by_method` by the method, `by_train_size` by how many training images are asked for. A value given on the command line
takes the place of the table; records hold the number that came out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from kd_experiments.networks.registry import names
from kd_experiments.places import config_folders, home, sweep_folders
from kd_experiments.private import full_key

OWN = "own code"  # as Hydra names the user's own folders

# What `teacher=NETWORK` sets besides the network; see `config.TeacherConfig`.
TEACHER = {
    "checkpoint": None,
    "seed": 0,
    "mean": None,
    "std": None,
    "seen_val": "unknown",
    "snapshots": 5,
    "table": "auto",
    "table_dtype": "float32",
    "table_budget": 16,
}


class OwnFolders(SearchPathPlugin):
    """Config groups before ours; of the folder that holds `sweeps/`, only that group."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(config_folders()):
            if folder != home() / "conf":
                search_path.prepend(OWN, f"file://{folder}")
        for folder in sweep_folders():
            if folder.parent != home():
                search_path.append(OWN, f"file://{folder.parent}")


def register_networks() -> None:
    """Register `teacher=`, `student=` and `peer=` choices from the network catalogue, and the tables' resolvers."""
    _register(ConfigStore.instance(), tuple(names()))
    register_resolvers()


@cache
def _register(store: ConfigStore, networks: tuple[str, ...]) -> None:
    """Once, until somebody brings another network: every configuration that is composed asks for it."""
    for name in networks:
        store.store(group="student", name=name, node={"network": name, "checkpoint": None})
        store.store(group="peer", name=name, node={"network": name, "checkpoint": None})
        store.store(group="teacher", name=name, node={"network": name, **TEACHER})
    store.store(group="peer", name="same", node={"network": "${student.network}", "checkpoint": None})


def register_resolvers() -> None:
    """Let OmegaConf know the tables of values."""
    for name, look_up in TABLES.items():
        OmegaConf.register_new_resolver(name, _resolver(look_up), replace=True)


def by_pair(table: Sequence[Any], config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The first value whose pattern fits `teacher -> student`; in mutual learning the peer is the teacher."""
    teacher = config["peer" if config["method"]["source"] == "peer" else "teacher"]
    student = config["student"]["network"]
    peer = student if teacher["network"] == "${student.network}" else teacher["network"]
    return first_match(table, f"{peer} -> {student}")


def by_network(table: Sequence[Any], config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The first value whose pattern fits the network trained by the recipe this stands in.

    `teacher.recipe` trains the teacher, `recipe` the student (and, with the same numbers, its peer).
    """
    owner = config[place[0]] if len(place) > 2 else config["student"]
    return first_match(table, owner["network"])


def by_data(table: Sequence[Any], config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The first value whose pattern fits the name of the data set."""
    return first_match(table, config["dataset"]["name"])


def by_method(table: Sequence[Any], config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The first value whose pattern fits the name of the method."""
    return first_match(table, config["method"]["name"])


def by_train_size(table: Sequence[Any], config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The second value where `dataset.train_size` asks for fewer images than the first, the third elsewhere."""
    limit, below, otherwise = table
    asked = config["dataset"]["train_size"]
    return below if asked is not None and asked < limit else otherwise


LookUp = Callable[[Sequence[Any], Mapping[str, Any], tuple[str, ...]], Any]
TABLES: dict[str, LookUp] = {
    "by_pair": by_pair,
    "by_network": by_network,
    "by_data": by_data,
    "by_method": by_method,
    "by_train_size": by_train_size,
}


def _resolver(look_up: LookUp) -> Callable[..., Any]:
    """The same table for OmegaConf, which tells a resolver the node's parent and the root."""

    def resolve(*table: Any, _parent_: DictConfig, _root_: DictConfig) -> Any:
        place = (*full_key(_parent_).split("."), "")
        return look_up(table, _root_, place)

    return resolve


def first_match(table: Sequence[Any], text: str) -> Any:
    """Look `text` up in (pattern, value, pattern, value, ..., value for all others); `*` stands for anything."""
    *rows, otherwise = table
    if len(rows) % 2:
        raise ValueError("a table is written pattern, value, pattern, value, ..., value for all others")
    for pattern, value in zip(rows[::2], rows[1::2], strict=True):
        if fnmatchcase(text, pattern):
            return value
    return otherwise

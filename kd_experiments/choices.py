"""Config groups that need no files: every network is a teacher, a student and a peer."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from kd_experiments.networks.catalogue import names


def register_networks() -> None:
    """Register `teacher=`, `student=` and `peer=` choices from the network catalogue."""
    store = ConfigStore.instance()
    for name in names():
        store.store(group="student", name=name, node={"network": name})
        store.store(group="peer", name=name, node={"network": name})
        teacher = {"network": name, "checkpoint": None, "seed": 0, "snapshots": 5}
        store.store(group="teacher", name=name, node=teacher)
    store.store(group="peer", name="same", node={"network": "${student.network}"})

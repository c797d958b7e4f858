"""The student of a run, and its peer in mutual learning: networks, what they are taught by, and their optimisers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kd_experiments.config import Config
from kd_experiments.data.dataset import Data
from kd_experiments.distillers.base import Distiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.randomness import derive
from kd_experiments.teachers.checkpoint_file import load_into, read_state, told_of
from kd_experiments.teachers.making import fresh_network
from kd_experiments.training.loop import Learner
from kd_experiments.training.objective import Objective


def make_learners(config: Config, data: Data, teacher: Callable[[], Network] | None) -> list[Learner]:
    """The student, and for mutual learning its peer; initial weights depend on the seed and the place alone, unless
    they are given.

    `teacher` gives the frozen network where there is one.
    """
    starts = {"student": config.student} | ({"peer": config.peer} if config.source == "peer" else {})
    networks = {place: fresh_network(start.network, data, config.seed, place) for place, start in starts.items()}
    for place, start in starts.items():
        if start.checkpoint is not None:
            with told_of(f"{place}.checkpoint"):
                path = Path(start.checkpoint)
                load_into(networks[place], read_state(path), start.network, path)
    learners = []
    for place, network in networks.items():
        objective = make_objective(config)
        torch.manual_seed(derive(config.seed, "distiller", place))
        objective.distiller.inspect_labels(data.train.labels, data.classes)
        if objective.distiller.needs != "logits":
            peers = [other for name, other in networks.items() if name != place]
            _fit_together(config, objective.distiller, network, peers[0] if teacher is None else teacher(), data)
        learners.append(Learner.make(place, network, objective.to(data.device), config.recipe))
    return learners


def make_objective(config: Config) -> Objective:
    """What one learner is taught by, as the configuration has it."""
    method = config.method
    return Objective(
        label_loss=config.label_loss,
        distiller=config.make_distiller(),
        revision=config.revision,
        weighting=config.weighting,
        temperature=config.distillation_temperature,
        label_weight=method.label_weight,
        label_rows=method.label_rows,
        weight=method.weight,
        kd_weight=method.kd_weight,
        standardise=method.standardise,
        warm_up_epochs=method.warm_up_epochs,
    )


def _fit_together(config: Config, distiller: Distiller, student: Network, source: Network, data: Data) -> None:
    """Let a distiller make the parts that depend on both networks, without moving any BN statistics."""
    images = next(data.evaluation_batches(data.train.at(torch.arange(2, device=data.device)), 2))
    with torch.no_grad():
        outputs = student.eval()(images), source.eval()(images)
        taught_by = config.teacher if config.source == "teacher" else config.peer
        for place, chosen, output in zip(("student", config.source), (config.student, taught_by), outputs, strict=True):
            lacking = _lacking(distiller, output)
            if lacking is not None:
                raise UserError(
                    f"method={config.method.name}: it {lacking}, which {place}={chosen.network} does not give; choose "
                    f"another network (python -m kd_experiments.networks lists those of the suite) or a method that "
                    f"compares logits, such as method=kd"
                )
        try:
            distiller.inspect_networks(student, source)
            distiller.build_modules(*outputs)
        except UserError as error:
            pair = f"student={config.student.network}, {config.source}={taught_by.network}"
            raise UserError(f"{error} (here {pair})") from error


def _lacking(distiller: Distiller, output: Output) -> str | None:
    """What a distiller reads that a network does not give, or None."""
    features, fewest = distiller.needs == "features", distiller.fewest_stages
    if features and len(output.features) < fewest:
        return f"compares the maps of {fewest} or more stages (feature_modules of a module of yours names them)"
    if (distiller.needs == "embedding" or distiller.reads_embedding) and not output.embedding.shape[1]:
        return "reads an embedding, what a last linear layer makes the logits of"
    if distiller.reads_last_map and output.last_map is None:
        return "reads a map whose mean over places is what a last linear layer makes the logits of"
    return None

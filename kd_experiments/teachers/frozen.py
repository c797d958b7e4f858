"""A frozen teacher as a source of supervision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kd_experiments.data.dataset import Data
from kd_experiments.networks import Network, Output
from kd_experiments.supervision.objective import Batch
from kd_experiments.teachers.view_table import ViewTable
from kd_experiments.training.devices import autocast

CHUNK = 500


class TabulatedTeacher:
    """Answers from a view table; before each epoch the teacher labels, in large batches, the views it has not seen.

    The network is asked for only when a row is missing.
    """

    def __init__(self, network: Callable[[], Network], table: ViewTable, data: Data) -> None:
        self._network = network
        self._table = table
        self._data = data
        self._epoch_logits: Tensor | None = None

    def begin_epoch(self, views: Tensor) -> None:
        for samples in self._table.missing(views).split(CHUNK):
            if not len(samples):  # nothing is missing
                continue
            index = samples.to(self._data.device)
            logits = chunk_logits(self._network(), self._data, index, views[index])
            self._table.fill(samples, views[index], logits)
        self._epoch_logits = self._table.read(views).to(self._data.device)

    def says(self, batch: Batch) -> Output:
        assert self._epoch_logits is not None, "begin_epoch comes first"
        logits = self._epoch_logits[batch.index]
        return Output(logits, (), (), logits)  # whoever needs more asks a LiveTeacher


class LiveTeacher:
    """Runs the teacher on every batch: for distillers that need its features, and for views without number."""

    def __init__(self, network: Network, data: Data) -> None:
        self._network = network.eval()
        self._data = data

    def begin_epoch(self, views: Tensor) -> None:
        pass

    def says(self, batch: Batch) -> Output:
        with torch.no_grad(), autocast(self._data.device):
            output = self._network(batch.images)
        return Output(
            output.logits.float(),
            tuple(maps.float() for maps in output.features),
            tuple(maps.float() for maps in output.preactivations),
            output.embedding.float(),
        )


def chunk_logits(network: Network, data: Data, index: Tensor, views: Tensor) -> Tensor:
    """Logits (n, C) of training images `index` in `views`, always computed in a batch of `CHUNK`.

    A short chunk is padded, because kernels may round differently for another batch size: a row must not depend on
    which other rows were missing with it.
    """
    padding = CHUNK - len(index)
    full_index, full_views = (torch.cat([part, part[:1].expand(padding)]) for part in (index, views))
    with torch.inference_mode(), autocast(data.device):
        logits = network(data.show(full_index, full_views)).logits.float()
    return logits[: len(index)]

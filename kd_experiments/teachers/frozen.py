"""A frozen teacher as a source of supervision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kd_experiments.data.dataset import Data
from kd_experiments.networks import Network, Output
from kd_experiments.teachers.view_table import ViewTable
from kd_experiments.training.devices import autocast, inference_batch
from kd_experiments.training.objective import Batch


class TabulatedTeacher:
    """Answers from a view table; before each epoch the teacher labels, in large batches, the views it has not seen.

    The network is asked for only when a row is missing. Several processes may do this with one table: each computes
    chunks that no other is computing, and finds the rest done.
    """

    def __init__(self, network: Callable[[], Network], table: ViewTable, data: Data) -> None:
        self._network = network
        self._table = table
        self._data = data
        self._epoch_logits: Tensor | None = None

    def begin_epoch(self, views: Tensor) -> None:
        logits = self.answers(views)
        if self._epoch_logits is None:
            self._epoch_logits = logits
        else:
            self._epoch_logits.copy_(logits)  # a recorded step reads them where they lie

    def answers(self, views: Tensor) -> Tensor:
        """The teacher's logits on every training image in its view (N,), (N, C); asks it what is not known yet."""
        logits, missing = self._table.get(torch.arange(len(views)), views)
        waiting = [samples for samples in missing.split(inference_batch(self._data.device)) if len(samples)]
        for wait in (False, True):  # first what nobody is working on
            left = []
            for samples in waiting:
                with self._table.claim(samples, wait) as mine:
                    if mine:
                        self._answer(samples, views, logits)
                    else:
                        left.append(samples)
            waiting = left
        return logits

    def _answer(self, samples: Tensor, views: Tensor, logits: Tensor) -> None:
        """Put the answers about a chunk of samples into `logits`; another process may have given some by now."""
        index = samples.to(logits.device)
        logits[index], missing = self._table.get(samples, views[index])
        if len(missing):
            asked = samples[missing]
            place = asked.to(logits.device)
            chunk = chunk_logits(self._network(), self._data, place, views[place])
            logits[place] = self._table.put(asked, views[place], chunk)

    def forward(self, batch: Batch) -> Output:
        assert self._epoch_logits is not None, "begin_epoch comes first"
        logits = self._epoch_logits[batch.own]
        return Output(logits, (), (), logits)  # whoever needs more asks a LiveTeacher

    def forward_images(self, images: Tensor) -> Output:
        return _everything(self._network(), images, self._data.device)


class LiveTeacher:
    """Runs the teacher on every batch: for distillers that need its features, and for views without number."""

    def __init__(self, network: Network, data: Data) -> None:
        self._network = network.eval()
        self._data = data

    def begin_epoch(self, views: Tensor) -> None:
        pass

    def forward(self, batch: Batch) -> Output:
        return self.forward_images(batch.images)

    def forward_images(self, images: Tensor) -> Output:
        return _everything(self._network, images, self._data.device)


def _everything(network: Network, images: Tensor, device: torch.device) -> Output:
    """The teacher's whole output on images (B, C, H, W), in float32."""
    with torch.no_grad(), autocast(device):
        output = network(images)
    return Output(
        output.logits.float(),
        tuple(maps.float() for maps in output.features),
        tuple(maps.float() for maps in output.preactivations),
        output.embedding.float(),
    )


def chunk_logits(network: Network, data: Data, index: Tensor, views: Tensor) -> Tensor:
    """Logits (n, C) of training images `index` in `views`, always computed in a batch of `inference_batch`.

    A short chunk is padded, because kernels may round differently for another batch size: a row must not depend on
    which other rows were missing with it.
    """
    padding = inference_batch(data.device) - len(index)
    full_index, full_views = (torch.cat([part, part[:1].expand(padding)]) for part in (index, views))
    with torch.inference_mode(), autocast(data.device):
        logits = network(data.in_view(full_index, full_views)).logits.float()
    return logits[: len(index)]

"""A frozen teacher as a source of supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kd_experiments import stopping
from kd_experiments.data.dataset import Data
from kd_experiments.networks import Network, Output
from kd_experiments.teachers.view_table import ViewTable
from kd_experiments.training.devices import autocast, inference_batch
from kd_experiments.training.objective import Batch


class TabulatedTeacher:
    """Answers from view tables, one of logits and perhaps one of embeddings. Before each epoch the teacher labels, in
    large batches, the views that it has not seen, for all tables in one pass.

    The network is asked for only when a row is missing. Several processes may do this with the same tables: each
    computes chunks that no other is computing, and finds the rest done. `asked` counts the views this one has computed.
    """

    def __init__(self, network: Callable[[], Network], tables: Sequence[ViewTable], data: Data) -> None:
        self._network = network
        self._tables = tables
        self._data = data
        self._epoch: list[Tensor] = []  # what each table says about the epoch's views
        self.asked = 0

    def begin_epoch(self, views: Tensor | None, initialising: bool = False) -> None:
        assert views is not None, "views without number are shown to a LiveTeacher"
        said = self.answers(views)
        if not self._epoch:
            self._epoch = said
        else:
            for place, rows in zip(self._epoch, said, strict=True):
                place.copy_(rows)  # a recorded step reads them where they lie

    def answers(self, views: Tensor) -> list[Tensor]:
        """What each table holds on every training image in its view (N,), (N, columns); asks the teacher for what is
        not known yet.
        """
        said, missing = self._look_up(torch.arange(len(views)), views)
        waiting = [samples for samples in missing.split(inference_batch(self._data.device)) if len(samples)]
        for wait in (False, True):  # first what nobody is working on
            left = []
            for samples in waiting:
                stopping.stop_if_asked()
                with self._tables[0].claim(samples, wait) as mine:
                    if mine:
                        self._answer(samples, views, said)
                    else:
                        left.append(samples)
            waiting = left
        return said

    def _look_up(self, samples: Tensor, views: Tensor) -> tuple[list[Tensor], Tensor]:
        """Every table's rows, and the places of those that some table lacks."""
        found = [table.get(samples, views) for table in self._tables]
        return [rows for rows, _ in found], torch.cat([missing for _, missing in found]).unique()

    def _answer(self, samples: Tensor, views: Tensor, said: Sequence[Tensor]) -> None:
        """Put the answers about a chunk of samples into `said`; another process may have given some by now."""
        index = samples.to(views.device)
        found, missing = self._look_up(samples, views[index])
        for whole, rows in zip(said, found, strict=True):
            whole[index] = rows
        if not len(missing):
            return
        asked = samples[missing]
        place = asked.to(views.device)
        chunk = chunk_answers(self._network(), self._data, place, views[place])
        for whole, table, rows in zip(said, self._tables, chunk, strict=False):
            whole[place] = table.put(asked, views[place], rows)
        self.asked += len(asked)

    def forward(self, batch: Batch) -> Output:
        assert self._epoch, "begin_epoch comes first"
        logits, embedding = (self._epoch[place][batch.own] for place in (0, -1))
        return Output(logits, (), (), embedding)  # whoever needs more asks a LiveTeacher

    def forward_images(self, images: Tensor) -> Output:
        return _in_float32(self._network(), images, self._data.device)


class LiveTeacher:
    """Runs the teacher on every batch: for distillers that need its features, and for views without number.

    `reads` says which stage is the deepest that a step reads, in an initialising epoch and otherwise; None stands for
    none. Nothing behind it is computed, if a table has the `logits`.
    """

    def __init__(
        self,
        network: Network,
        data: Data,
        logits: TabulatedTeacher | None = None,
        reads: Callable[[bool], int | None] = lambda initialising: None,
    ) -> None:
        self._network = network.eval()
        self._data = data
        self._logits = logits
        self._reads = reads
        self._stage: int | None = None

    def begin_epoch(self, views: Tensor | None, initialising: bool = False) -> None:
        if self._logits is not None:
            self._stage = self._reads(initialising)
            self._logits.begin_epoch(views)

    def forward(self, batch: Batch) -> Output:
        if self._logits is None:
            return self.forward_images(batch.images)
        said = self._logits.forward(batch)
        if self._stage is None:
            return said
        maps = _in_float32(self._network, batch.images, self._data.device, self._stage)
        return maps._replace(logits=said.logits)

    def forward_images(self, images: Tensor) -> Output:
        return _in_float32(self._network, images, self._data.device)


def _in_float32(network: Network, images: Tensor, device: torch.device, stage: int | None = None) -> Output:
    """What the teacher says about images (B, C, H, W), up to a stage or wholly.

    Not in inference mode: a loss may keep the maps for its backward pass, which such tensors refuse.
    """
    with torch.no_grad(), autocast(device):
        output = network(images) if stage is None else network.up_to(images, stage)
        return output.each(Tensor.float)


def chunk_answers(network: Network, data: Data, index: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, C) and embeddings (n, D) of training images `index` in `views`, computed in a batch of
    `inference_batch` whatever n is.

    A short chunk is padded, because kernels may round differently for another batch size: a row must not depend on
    which other rows were missing with it.
    """
    padding = inference_batch(data.device) - len(index)
    full_index, full_views = (torch.cat([part, part[:1].expand(padding)]) for part in (index, views))
    with torch.inference_mode(), autocast(data.device):
        output = network(data.in_view(full_index, full_views))
        return output.logits[: len(index)].float(), output.embedding[: len(index)].float()

"""One run on several processes, started by torchrun: each process shows its share of every batch to the networks.

Their outputs are gathered, and every process computes the loss of the whole batch. So whatever a method compares
across samples, and whatever it divides by, is what one process would have computed. Without torchrun nothing here does
anything.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kd_experiments import files
from kd_experiments.errors import UserError

# A process may wait for its main one, which waits for another run to train the teacher.
_PATIENCE = datetime.timedelta(days=2)


def start(device: str) -> None:
    """Join the other processes of this run, if torchrun started us; with GPUs each process takes its own."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
        return
    gpus = device in ("auto", "cuda") and torch.cuda.is_available()
    dist.init_process_group("nccl" if gpus else "gloo", timeout=_PATIENCE)
    atexit.register(dist.destroy_process_group)


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Is this the process that writes files and talks?"""
    return rank() == 0


def wait() -> None:
    """Go on when every process has come here."""
    if processes() > 1:
        dist.barrier()


@contextlib.contextmanager
def locked(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """One process at a time works in a folder; of several processes of one run the main one holds the lock for all.

    Whoever waits says so, and for which folder.
    """
    if not is_main():
        wait()
        yield
        return
    with files.locked(folder / ".lock", f"works in {folder}", note):
        files.remove_parts(folder)
        wait()
        yield


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The main process does it first, the others when it is done."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def agreed(value: Any) -> Any:
    """What the main process holds for `value`."""
    if processes() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def share(count: int) -> slice:
    """Which of `count` samples are this process's: as even as can be, in order."""
    return _share(count, rank())


def _share(count: int, of: int) -> slice:
    return slice(count * of // processes(), count * (of + 1) // processes())


def check_batches(samples: int, batch_size: int) -> None:
    """`UserError` if a batch cannot be shared out."""
    count = processes()
    if batch_size % count:
        raise UserError(
            f"recipe.batch_size={batch_size}: cannot be shared by {count} processes; give a multiple of {count}"
        )
    last = samples % batch_size
    if 0 < last < count:
        raise UserError(
            f"recipe.batch_size={batch_size}: the last of the batches of {samples} images has {last}, too few for "
            f"{count} processes; give another batch size or another number of processes"
        )


def own_part(order: Tensor, batch_size: int) -> Tensor:
    """This process's samples of an epoch that shows `order` (n,) in batches; its batches are `own_size` long."""
    if processes() == 1:
        return order
    return torch.cat([batch[share(len(batch))] for batch in order.split(batch_size)])


def own_size(batch_size: int) -> int:
    return batch_size // processes()


def gathered(part: Tensor, count: int) -> Tensor:
    """Rows of every process, (count, ...), from this process's share of them; gradients flow back to the share."""
    if processes() == 1:
        return part
    whole: Tensor = _Gather.apply(part, count)
    return whole


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, part: Tensor, count: int) -> Tensor:
        context.share = share(count)
        longest = -(-count // processes())
        padded = part.new_zeros(longest, *part.shape[1:])
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in range(processes())]
        dist.all_gather(found, padded.contiguous())
        shares = (_share(count, of) for of in range(processes()))
        return torch.cat([rows[: own.stop - own.start] for rows, own in zip(found, shares, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Every process computes the same loss of the whole batch. DistributedDataParallel averages over processes what
        # belongs together in a sum: hence the factor.
        return gradients[0][context.share] * processes(), None


def synchronised(network: nn.Module, device: torch.device) -> None:
    """Let the batch norms of a network see the whole batch; in place, parameters and names stay."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SynchronisedBatchNorm  # what torch has needs a GPU


class _SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the samples of all processes."""

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        count = maps.new_full((1,), maps.numel() / maps.shape[1])
        mean = maps.mean((0, 2, 3))
        squares = (maps - mean[:, None, None]).square().sum((0, 2, 3))
        own = torch.cat([count, mean, squares])
        every: Tensor = _GatherStatistics.apply(own)
        counts, (means, sums) = every[:, :1], every[:, 1:].split(len(mean), 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (sums.sum(0) + (counts * (means - mean).square()).sum(0)) / total
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked += 1
                new = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.detach(), new)
                self.running_var.lerp_(variance.detach() * total / (total - 1), new)
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return maps * scale[:, None, None] + shift[:, None, None]


class _GatherStatistics(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        found = [torch.empty_like(own) for _ in range(processes())]
        dist.all_gather(found, own)
        return torch.stack(found)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)  # the output of a process went into the outputs of all
        return whole[rank()]


def replicated(network: nn.Module) -> nn.parallel.DistributedDataParallel:
    """The network with batch norms over the whole batch, and gradients averaged while they are computed."""
    device = next(network.parameters()).device
    synchronised(network, device)
    devices = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the option has another name in new versions of torch
        return nn.parallel.DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average, in one message, the gradients there are; every process has the same ones."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if processes() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= processes()
    for gradient, averaged in zip(gradients, flat.split([part.numel() for part in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))

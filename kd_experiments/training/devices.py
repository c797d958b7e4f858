"""Which device, which number format, how many threads."""

from __future__ import annotations

import contextlib
import os
import platform
from contextlib import AbstractContextManager

import torch

from kd_experiments.errors import UserError
from kd_experiments.training import parallel


def pick(wanted: str, number: int = 0) -> torch.device:
    """`auto` takes cuda, then mps, then cpu; anything else must be there.

    Of several GPUs, job `number` of a sweep takes the one whose turn it is, and each process of one run its own.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, there in found.items() if there)
    if not found[wanted]:
        there = ", ".join(name for name, there in found.items() if there)
        raise UserError(f"device={wanted}: not available on this machine; use device=auto or one of: {there}")
    if wanted == "cuda" and parallel.processes() > 1:
        number = int(os.environ["LOCAL_RANK"])
    if wanted == "cuda" and torch.cuda.device_count() > 1:
        device = torch.device("cuda", number % torch.cuda.device_count())
        torch.cuda.set_device(device)  # for whatever asks for the current device
        return device
    return torch.device(wanted)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 on CUDA; on a CPU without matrix units it costs time, so float32 everywhere else."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def inference_batch(device: torch.device) -> int:
    """Images at a time where nothing is learned: what fits a CPU's caches is up to 1.2 times faster there than 500."""
    return 128 if device.type == "cpu" else 500


def make_deterministic(device: torch.device, threads: int | None) -> None:
    """Same numbers for the same run: no algorithm search, and a stated number of threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.set_float32_matmul_precision("high")


def describe(device: torch.device) -> dict[str, object]:
    """The hardware, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "processes": parallel.processes(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

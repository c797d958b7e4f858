"""Which device, which number format, how many threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import subprocess
from contextlib import AbstractContextManager
from typing import Literal

import torch

from kd_experiments.errors import UserError
from kd_experiments.training import parallel

Precision = Literal["auto", "float32", "bfloat16"]

_BFLOAT16 = "+BF16"
# Of mallopt(3): blocks below 1 GiB come from the heap, whose end is kept up to 1 GiB and grows by 64 MiB.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MALLOPT = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**30, _M_TOP_PAD: 2**26}
_OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
_precision: Precision = "auto"  # of this process, like its number of threads
_all_threads: int | None = None  # how many there were before a run stated a number


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


def resolved_precision(precision: Precision, device: str) -> str:
    """`auto` is bfloat16 on CUDA, float32 elsewhere: so all CPUs compute alike."""
    if precision != "auto":
        return precision
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return "bfloat16" if cuda else "float32"


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Around forward passes."""
    if resolved_precision(_precision, device.type) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def computes_bfloat16(device: torch.device) -> bool:
    """Has the device instructions for bfloat16, and are kernels used that have them?

    Elsewhere torch emulates it: 19 images/s against 358 with AVX2 kernels (resnet8x4, two cores).
    """
    return device.type == "cuda" or (device.type == "cpu" and capability().endswith(_BFLOAT16))


def capability() -> str:
    """Which of its kernels for CPUs torch uses (`DEFAULT`, `AVX2`, `AVX512`, `SVE256`), with `+BF16` where processor
    and kernels have instructions for bfloat16.
    """
    kernels, flags = torch.backends.cpu.get_cpu_capability(), _cpu_flags()
    intel = kernels.startswith("AVX512") and bool(flags & {"avx512_bf16", "amx_bf16"})
    return kernels + (_BFLOAT16 if intel or "bf16" in flags else "")


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """What the processor can do, as Linux names it, in lower case; of Apple's only whether it has bfloat16."""
    with contextlib.suppress(OSError):
        with open("/proc/cpuinfo") as lines:
            found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
        return frozenset(found.split(":", 1)[1].lower().split())
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        if subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == "1":
            return frozenset({"bf16"})
    return frozenset()


def inference_batch(device: torch.device) -> int:
    """Images at a time where nothing is learned: what fits a CPU's caches is up to 1.2 times faster there than 500."""
    return 128 if device.type == "cpu" else 500


def make_deterministic(device: torch.device, threads: int | None, precision: Precision = "auto") -> None:
    """Same numbers for the same run: no algorithm search, a stated number of threads, a stated number format.

    On CUDA float32 means what it says, and no kernel may add in any order it likes.
    """
    global _precision, _all_threads
    if precision == "bfloat16" and not computes_bfloat16(device):
        here = f" (kernels for {capability()})" if device.type == "cpu" else ""
        raise UserError(
            f"precision=bfloat16: device={device.type}{here} has no instructions for it and would be many times slower "
            f"than in float32; use precision=float32"
        )
    _precision = precision
    if device.type == "cpu":
        keep_freed_memory()
    if threads is not None:
        _all_threads = _all_threads or torch.get_num_threads()
        torch.set_num_threads(threads)
    elif _all_threads is not None:
        torch.set_num_threads(_all_threads)
    if device.type == "cuda":
        exact = precision == "float32"
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = not exact
        torch.set_float32_matmul_precision("highest" if exact else "high")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may not repeat itself
        torch.use_deterministic_algorithms(exact, warn_only=True)


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees: a step frees all it allocates, and the next one allocates it again.

    The C library of Linux gives large blocks back to the system at once; the next step then waits for
    new pages, filled with zeros. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            library.mallopt(parameter, value)


def give_back_memory() -> None:
    """Give the system what this process has kept free since `keep_freed_memory`: a run is over, or a sweep's worker
    waits for the next one, which joblib would otherwise end for the memory that it seems to lose.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail, on whatever device? Often torch says so in words only."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    return said or isinstance(error, MemoryError | torch.OutOfMemoryError)


def cpu_name() -> str:
    """The processor, as it calls itself."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

"""Devices: jobs of a sweep take turns on several GPUs; number formats."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from bench.memory import resident
from kd_experiments.errors import UserError
from kd_experiments.training import devices

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test tells torch is unsaid after it."""
    monkeypatch.setattr(devices, "_precision", "auto")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    for name in ("benchmark", "deterministic", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_an_allocation_that_failed_is_known(error: Exception, expected: bool) -> None:
    assert devices.is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("count", "number", "expected"), [(1, 5, "cuda"), (2, 0, "cuda:0"), (2, 3, "cuda:1"), (4, 6, "cuda:2")]
)
@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_jobs_take_turns(wanted: str, count: int, number: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert devices.pick(wanted, number) == torch.device(expected)
    assert current == ([torch.device(expected)] if count > 1 else [])
    assert devices.pick("cpu", number) == torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "flags", "there"),
    [
        ("AVX512", "avx2 avx512f avx512_bf16", True),
        ("AVX512", "avx2 avx512f amx_bf16", True),
        ("AVX512", "avx2 avx512f", False),
        ("AVX2", "avx2 avx512f avx512_bf16", False),  # the processor could, but other kernels were asked for
        ("DEFAULT", "avx2", False),
        ("SVE256", "asimd bf16", True),
        ("DEFAULT", "asimd", False),
    ],
)
def test_a_cpu_that_would_emulate_bfloat16_refuses_it(
    capability: str, flags: str, there: bool, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(devices, "_cpu_flags", lambda: frozenset(flags.split()))
    assert devices.capability() == capability + there * "+BF16"
    devices.make_deterministic(CPU, None, "float32")
    if there:
        devices.make_deterministic(CPU, None, "bfloat16")
        return
    with pytest.raises(UserError, match=rf"bfloat16: device=cpu \(kernels for {capability}\) has no .*float32$"):
        devices.make_deterministic(CPU, None, "bfloat16")


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        (CPU, "auto", torch.float32),
        (CPU, "float32", torch.float32),
        (CPU, "bfloat16", torch.bfloat16),
    ],
)
def test_a_forward_pass_computes_in_the_precision_that_was_asked_for(
    device: torch.device,
    precision: devices.Precision,
    expected: torch.dtype,
    restored: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    devices.make_deterministic(device, None, precision)
    with devices.autocast(device):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize(("precision", "half"), [("auto", True), ("float32", False), ("bfloat16", True)])
def test_a_gpu_computes_in_bfloat16_unless_told_otherwise(
    precision: devices.Precision, half: bool, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    devices.make_deterministic(CUDA, None, precision)
    context = devices.autocast(CUDA)
    assert isinstance(context, torch.autocast) == half
    if isinstance(context, torch.autocast):
        assert (context.device, context.fast_dtype) == ("cuda", torch.bfloat16)


def test_float32_on_a_gpu_is_float32_and_repeats_itself(restored: None) -> None:
    devices.make_deterministic(CUDA, None, "float32")
    assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    devices.make_deterministic(CUDA, None)
    assert torch.get_float32_matmul_precision() == "high" and not torch.are_deterministic_algorithms_enabled()


def test_a_precision_that_a_device_lacks_is_one_clear_line(restored: None) -> None:
    with pytest.raises(UserError, match="precision=bfloat16: device=mps has no instructions for it"):
        devices.make_deterministic(torch.device("mps"), None, "bfloat16")


# Keeping and giving back are mallopt and malloc_trim of glibc; with another C library both do nothing, as they say.
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they want")
def test_kept_memory_is_given_back_after_a_run() -> None:
    devices.keep_freed_memory()
    block = torch.ones(32 * 2**20)  # 128 MiB
    devices.give_back_memory()
    held = resident()["RssAnon"]
    del block
    assert resident()["RssAnon"] > held - 2**24, "kept for the next step"
    devices.give_back_memory()
    assert resident()["RssAnon"] < held - 2**26


def test_a_run_that_states_no_threads_has_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "_all_threads", None)
    devices.make_deterministic(CPU, before + 1)
    assert torch.get_num_threads() == before + 1
    devices.make_deterministic(CPU, None)
    assert torch.get_num_threads() == before

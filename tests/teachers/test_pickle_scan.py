"""Checkpoints that would take all time or memory to read, or hold nothing to compute with."""

from __future__ import annotations

import collections
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kd_experiments.errors import UserError
from kd_experiments.networks import build
from kd_experiments.teachers.checkpoint_file import load_into, read_state, strip_prefixes
from kd_experiments.teachers.pickle_scan import refuse_costly

pytestmark = pytest.mark.usefixtures("modest")


def packed(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, more: bytes = b"") -> Path:
    """A file as torch.save writes it, with any pickle in it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", b"3\n")
        archive.writestr("x/data/0", more)
    return path


def nested(depth: int) -> Any:
    """A tuple that takes 2**depth steps to hash."""
    key: Any = ()
    for _ in range(depth):
        key = (key, key)
    return key


def unhashed(key: Any) -> bytes:
    """The pickle of {key: 1} that nobody had to hash: MARK key value DICT."""
    body = pickle.dumps(key, 2)[2:-1]
    return b"\x80\x02}(" + body + b"K\x01u."


BOMBS = {
    "nested tuples": unhashed(nested(60)),
    "as set item": b"\x80\x02}" + pickle.dumps(nested(60), 2)[2:-1] + b"K\x01s.",
    "one hash": pickle.dumps({"model": {i * (2**61 - 1): 1 for i in range(1, 40)}}, 2),
    "set": b"\x80\x02c__builtin__\nset\n(" + pickle.dumps(nested(60), 2)[2:-1] + b"t\x85R.",
    "ordered": b"\x80\x02ccollections\nOrderedDict\n(" + pickle.dumps(nested(60), 2)[2:-1] + b"t\x85R.",
    "counter": b"\x80\x02ccollections\nCounter\n(" + pickle.dumps(nested(60), 2)[2:-1] + b"t\x85R.",
    "bytes": b"\x80\x02c__builtin__\nbytearray\n" + pickle.dumps((10**11,), 2)[2:-1] + b"R.",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("legacy", [False, True])
def test_hash_bombs_are_refused(tmp_path: Path, bomb: str, legacy: bool) -> None:
    path = tmp_path / "x.pt"
    if legacy:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + BOMBS[bomb])
    else:
        packed(path, BOMBS[bomb])
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"teacher.checkpoint=.*refused"):
        read_state(path)
    assert time.perf_counter() - started < 10


def test_packed_zeros_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.pt", pickle.dumps({}, 2), zipfile.ZIP_DEFLATED, bytes(1 << 26))
    with pytest.raises(UserError, match="it is compressed"):
        read_state(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_ordinary_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.pt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(UserError, match="no ordinary file"):
        refuse_costly(path)


def test_honest_checkpoints_pass(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.zeros(2, 3)).sum().backward()
    optimizer.step()
    content = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best_acc": torch.tensor(71.5),
        "opt": {"name": "x", "lr": 0.1, "when": time.time_ns()},
        "sizes": torch.Size([1, 2]),
        "order": collections.OrderedDict(a=1),
    }
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        refuse_costly(path)
        assert torch.equal(read_state(path)["0.weight"], network[0].weight)


def test_prefixes_are_removed_a_few_times_only() -> None:
    started = time.perf_counter()
    state = {"module." * 20_000 + "x": torch.zeros(1)}
    assert next(iter(strip_prefixes(state))).startswith("module.")
    assert next(iter(strip_prefixes({"module.student.module.x": torch.zeros(1)}))) == "x"
    assert time.perf_counter() - started < 5


CHANGES = {
    "not finite": lambda tensor: tensor.fill_(float("nan")),
    "values that are not": lambda tensor: tensor.fill_(float("inf")),
    "sparse": lambda tensor: tensor.to_sparse(),
    "meta": lambda tensor: tensor.to("meta"),
    "int8": lambda tensor: tensor.to(torch.int8),
    "complex64": lambda tensor: tensor.to(torch.complex64),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("word", CHANGES)
def test_weights_that_are_no_numbers_to_compute_with(tmp_path: Path, word: str) -> None:
    network = build("resnet8", classes=10, channels=1, size=8)
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    key = next(iter(state))
    state[key] = CHANGES[word](state[key])
    with pytest.raises(UserError, match=rf"{key} .*{word}"):
        load_into(network, state, "resnet8", tmp_path / "x.pt")

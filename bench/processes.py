"""Two runs at a time with one thread each over one run at a time with all threads."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.material import BATCH, Material, Pair
from bench.measurement import Measurement, Setting, interleaved

PAIRS: tuple[Pair, ...] = (("resnet20", "resnet8"), ("resnet56", "resnet20"))
IMAGES = 1000


def figures(setting: Setting) -> Iterator[Measurement]:
    for pair in PAIRS[:1] if setting.quick else PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            yield of_pair(Path(folder), pair, setting)


def of_pair(folder: Path, pair: Pair, setting: Setting) -> Measurement:
    """Waiting processes are told to train an epoch: first one with all threads, then two with one thread each."""
    cores = os.cpu_count() or 1
    Material(folder, IMAGES).subject(pair, torch.device("cpu"))  # so that the teacher is measured once
    workers = [Worker(folder, pair, threads, IMAGES) for threads in (cores, 1, 1)]
    try:
        seconds = interleaved(
            {"one_at_a_time": lambda: epochs(workers[:1]), "two_at_a_time": lambda: epochs(workers[1:])},
            setting.repetitions(5),
            torch.device("cpu"),
        )
    finally:
        for worker in workers:
            worker.stop()
    return Measurement(
        name="two_at_a_time",
        about=f"runs an hour of two processes with one thread each over one process with {cores}",
        setting=f"{pair[0]} -> {pair[1]}, KD, table filled, batch {BATCH}, an epoch of {IMAGES} images, CPU",
        unit="x",
        better="higher",
        target=None,
        values=[2 * one / two for one, two in zip(seconds["one_at_a_time"], seconds["two_at_a_time"], strict=True)],
        parts=seconds,
    )


class Worker:
    """A process with a ready training and a number of threads."""

    def __init__(self, folder: Path, pair: Pair, threads: int, images: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, folder, pair, threads, images), daemon=True)
        self._process.start()
        theirs.close()

    def stop(self) -> None:
        self.connection.close()
        self._process.join()


def epochs(workers: list[Worker]) -> None:
    """Each worker trains an epoch, all at once."""
    for worker in workers:
        worker.connection.send("epoch")
    for worker in workers:
        worker.connection.recv()


def serve(connection: Connection, folder: Path, pair: Pair, threads: int, images: int) -> None:
    """Train the same epoch whenever told to, until the other end is closed."""
    torch.set_num_threads(threads)
    training = Material(folder, images).subject(pair, torch.device("cpu")).training()
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        training.train_epoch(0)
        connection.send("done")

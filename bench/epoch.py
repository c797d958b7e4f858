"""Our epoch over a conventional loop's, with the table filled and while it fills, and over a bare loop's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from bench.loops import BareLoop, ConventionalLoop
from bench.material import BATCH, CLASSES, PAIRS, Material, Pair, Quiet, Subject
from bench.measurement import Measurement, Seconds, Setting, compared, timed
from kd_experiments.networks import Network, build
from kd_experiments.single_run import obtain_teacher
from kd_experiments.teachers.making import fresh_network
from kd_experiments.training import devices

FASTER = {PAIRS[0]: 3.5, PAIRS[1]: 2.5}  # targets by pair
EPOCHS = 240


def figures(setting: Setting) -> Iterator[Measurement]:
    for pair in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            subject = Material(Path(folder), 500 if setting.quick else 1000).subject(pair, setting.device)
            yield from of_pair(subject, pair, setting.repetitions(3 if pair == PAIRS[0] else 5))


def of_pair(subject: Subject, pair: Pair, repetitions: int) -> Iterator[Measurement]:
    """Three figures from one interleaved measurement of four parts, an epoch each."""
    seconds = measure(subject, pair, repetitions)
    samples, views = len(subject.data.train), subject.data.views
    assert views is not None
    steps = subject.config.recipe.steps_per_epoch(samples)
    setting = f"{pair[0]} -> {pair[1]}, batch {BATCH}, epoch of {steps} steps, {steps * repetitions} steps a loop"
    yield Measurement(
        name="epoch",
        about="a conventional loop's epoch over ours, table filled",
        setting=setting,
        unit="x",
        better="higher",
        target=FASTER[pair],
        **compared(seconds["conventional"], seconds["ours"]),
        parts=seconds,
        note="workers of the conventional loop already started",
    )
    share = unseen_share(views.count, EPOCHS)
    first = [ours + share * fill for ours, fill in zip(seconds["ours"], seconds["fill"], strict=True)]
    yield Measurement(
        name="first_run",
        about=f"a conventional loop's epoch over ours, table filling as it goes, mean of {EPOCHS} epochs",
        setting=setting,
        unit="x",
        better="higher",
        target=1.6,
        **compared(seconds["conventional"], first),
        parts={**seconds, "first_run_epoch": first},
        note=f"computed: {views.count} views an image, so that the teacher labels {share:.1%} of the images an epoch "
        "shows on average; fill is the measured time of labelling all of them",
    )
    yield Measurement(
        name="bare_loop",
        about="our epoch over a loop of forward, backward and SGD on random tensors",
        setting=setting,
        unit="x",
        better="lower",
        target=1.05 if subject.data.device.type == "cpu" else 1.10,
        **compared(seconds["ours"], seconds["bare"]),
        parts=seconds,
        note="same network, memory format and optimiser",
    )
    if "one_by_one" in seconds:
        yield Measurement(
            name="captured",
            about="our epoch with every kernel started by the host (capture=off) over ours, replayed",
            setting=setting,
            unit="x",
            better="higher",
            target=None,
            **compared(seconds["one_by_one"], seconds["ours"]),
            parts=seconds,
        )
    if "ours_bfloat16" in seconds:
        yield from of_half_precision(seconds, setting, share)


def of_half_precision(seconds: Seconds, setting: str, share: float) -> Iterator[Measurement]:
    """The same two figures with precision=bfloat16; the conventional loop computes in float32 in both."""
    yield Measurement(
        name="epoch_bfloat16",
        about="a conventional loop's epoch over ours with precision=bfloat16, table filled",
        setting=setting,
        unit="x",
        better="higher",
        target=None,
        **compared(seconds["conventional"], seconds["ours_bfloat16"]),
        parts=seconds,
        note="other numbers than in float32; +sweeps=small/precision asks what it does to accuracy",
    )
    ours, fill = seconds["ours_bfloat16"], seconds["fill_bfloat16"]
    first = [epoch + share * all_images for epoch, all_images in zip(ours, fill, strict=True)]
    yield Measurement(
        name="first_run_bfloat16",
        about=f"the same, table filling as it goes, mean of {EPOCHS} epochs",
        setting=setting,
        unit="x",
        better="higher",
        target=None,
        **compared(seconds["conventional"], first),
        parts={**seconds, "first_run_epoch": first},
        note="computed as first_run is",
    )


def unseen_share(views: int, epochs: int) -> float:
    """Mean share of the images of an epoch whose view no earlier epoch has shown, when views are drawn evenly."""
    return sum((1 - 1 / views) ** epoch for epoch in range(epochs)) / epochs


def measure(subject: Subject, pair: Pair, repetitions: int) -> Seconds:
    """Seconds of an epoch of each loop, and of labelling the views of one (scaled to an epoch of unseen ones)."""
    data, config, device = subject.data, subject.config, subject.data.device
    training = subject.training()
    source = training.source
    assert source is not None and data.views is not None
    conventional = ConventionalLoop(plain(pair[0], device), plain(pair[1], device), data, config.recipe)
    bare = BareLoop(fresh_network(pair[1], data, 0, "bare"), data, config.recipe)

    seen = torch.zeros(len(data.train), data.views.count, dtype=torch.bool)
    everyone = torch.arange(len(data.train))
    # Variants: bfloat16 where float32 is the default, a written step where it is replayed.
    bfloat16 = device.type == "cpu" and devices.computes_bfloat16(device)
    one_by_one = subject.training() if training.recorder is not None else None
    if one_by_one is not None:
        one_by_one.recorder = None
    unkept = obtain_teacher(subject.with_overrides("teacher.table=off"), data, Quiet()).tabulated()

    seconds: Seconds = {}
    for epoch in range(repetitions + 1):
        views = data.epoch_views(config.seed, epoch)
        assert views is not None
        unseen = 1 - float(seen[everyone, views.cpu()].float().mean())
        seen[everyone, views.cpu()] = True
        turn = {
            "fill": timed(partial(source.begin_epoch, views), device) / unseen,
            "ours": timed(partial(training.train_epoch, epoch), device),
        }
        if one_by_one is not None:
            turn["one_by_one"] = timed(partial(one_by_one.train_epoch, epoch), device)
        if bfloat16:
            devices.make_deterministic(device, None, "bfloat16")
            turn["ours_bfloat16"] = timed(partial(training.train_epoch, epoch), device)
            turn["fill_bfloat16"] = timed(partial(unkept.begin_epoch, views), device)
            devices.make_deterministic(device, None)
        if epoch == 0:  # a warm-up, like these
            bare.epoch()
            for _ in range(2):
                conventional.step()
            continue
        turn["bare"] = timed(bare.epoch, device)
        turn["conventional"] = timed(conventional.epoch, device)
        for name, value in turn.items():
            seconds.setdefault(name, []).append(value)
    return seconds


def plain(name: str, device: torch.device) -> Network:
    """A network as it is built, without channels_last."""
    return build(name, classes=CLASSES, channels=3, size=32).to(device)

"""The loops ours is compared with do what they are said to do."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from bench.epoch import plain
from bench.loops import BareLoop, ConventionalLoop, Endless, Pictures
from bench.material import Subject
from kd_experiments.data.dataset import Data

pytestmark = pytest.mark.slow  # whole runs, many times over

CPU = torch.device("cpu")


def coloured(data: Data) -> Data:
    """Images that are easy to tell apart: one of four grey levels, which is the label."""
    labels = torch.arange(len(data.train)) % 4
    images = (labels * 80).to(torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous()
    return replace(data, train=replace(data.train, images=images, labels=labels, true_labels=labels))


def weights(network: torch.nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def test_the_conventional_loop_trains_the_student_and_leaves_the_teacher_alone(subject: Subject) -> None:
    torch.manual_seed(0)
    teacher, student = plain("resnet8", CPU), plain("resnet8", CPU)
    before = weights(teacher)
    loop = ConventionalLoop(teacher, student, coloured(subject.data), subject.config.recipe)
    for _ in range(6):
        loop.epoch()
    assert len(loop.losses) == 6 * 4  # 100 images in batches of 32
    assert sum(loop.losses[-4:]) < 0.6 * sum(loop.losses[:4])
    assert all(torch.equal(a, b) for a, b in zip(before, weights(teacher), strict=True))


def test_its_pictures_are_the_data_sets_cropped_flipped_and_normalised(subject: Subject) -> None:
    data = coloured(subject.data)
    image, label = Pictures(data)[3]
    assert label == 3 and image.shape == (3, 32, 32) and image.dtype == torch.float32
    assert isinstance(data.train.images, Tensor)
    centre = data.normalise(data.train.images[3:4])[0, :, 16, 16]
    assert torch.allclose(image[:, 16, 16], centre, atol=1e-5)


def test_batches_go_on_for_ever_and_each_epoch_has_every_image_once() -> None:
    batches = list(islice(iter(Endless(10, 4)), 6))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    for epoch in (batches[:3], batches[3:]):
        assert sorted(index for batch in epoch for index in batch) == list(range(10))


def test_the_bare_loop_updates_the_network_in_every_step(subject: Subject) -> None:
    network = plain("resnet8", CPU)
    before = weights(network)
    BareLoop(network, subject.data, subject.config.recipe).epoch()
    assert int(network.state_dict()["bn1.num_batches_tracked"]) == 4
    assert not torch.equal(before[0], weights(network)[0])

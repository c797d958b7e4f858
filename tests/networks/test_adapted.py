"""Modules of somebody else's as networks: their state dicts, what timm lists of its own, what they give in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.errors import UserError
from kd_experiments.networks import build
from kd_experiments.networks.adapted import Adapted
from kd_experiments.teachers.checkpoint_file import load_into


class Wrapped(nn.Module):
    """A backbone under the name that the suite's own wrapper uses, with a layer called as one of the backbone's."""

    def __init__(self, classes: int, head: bool = True) -> None:
        super().__init__()
        self.model = nn.Sequential()
        self.model.add_module("fc", nn.Linear(4, 6))
        self.model.add_module("model", nn.Linear(6, 6))
        self.fc = nn.Linear(6, classes) if head else nn.Conv1d(6, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        found = self.model(images.flatten(1))
        return self.fc(found) if isinstance(self.fc, nn.Linear) else self.fc(found[:, :, None])[:, :, 0]


def test_a_state_dict_is_the_modules_own_whatever_its_names() -> None:
    torch.manual_seed(0)
    model = Wrapped(3)
    network, other = Adapted(model, 3, ()), Adapted(Wrapped(3), 3, ())
    plain, ours = model.state_dict(), network.state_dict()
    assert ours.keys() == plain.keys() and all(torch.equal(ours[key], plain[key]) for key in plain)
    for holder in (other, nn.ModuleDict({"inner": Adapted(Wrapped(3), 3, ())})):
        prefix = "" if holder is other else "inner."
        holder.load_state_dict({prefix + key: tensor for key, tensor in plain.items()}, strict=True)
        kept = holder.state_dict()
        assert all(torch.equal(kept[prefix + key], plain[key]) for key in plain) and len(kept) == len(plain)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (True, r"made for 5 classes, but this data set has 3; give a checkpoint trained on this data set"),
        (False, r"fc\.weight has shape \[5, 6, 1\], but mine on this data set needs \[3, 6, 1\]"),
    ],
)
def test_weights_for_other_classes_are_told(head: bool, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_into(Adapted(Wrapped(3, head), 3, ()), Wrapped(5, head).state_dict(), "mine", Path("x.pth"))


class WithAuxiliary(nn.Sequential):
    """As GoogLeNet and Inception of torchvision: a second head in training."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Tensor = super().forward(images)
        return (logits, logits) if self.training else logits


def test_logits_that_are_none_in_training_are_told() -> None:
    network = Adapted(WithAuxiliary(nn.Flatten(), nn.Linear(4, 3)), 3, ())
    assert network.eval()(torch.rand(2, 1, 2, 2)).logits.shape == (2, 3)
    with pytest.raises(UserError, match=r"WithAuxiliary: gives a tuple in training, not logits"):
        network.train()(torch.rand(2, 1, 2, 2))


@pytest.mark.parametrize(
    ("name", "stages"), [("test_vit", 0), ("swin_tiny_patch4_window7_224", 0), ("test_efficientnet", 5)]
)
def test_what_timm_lists_counts_where_it_is_maps(name: str, stages: int) -> None:
    timm = pytest.importorskip("timm", reason="needs timm")
    if not timm.is_model(name):  # the extra takes releases from before these small networks, too
        pytest.skip(f"this timm has no {name}")
    network = build(f"timm:{name}", classes=5, channels=1, size=32).eval()
    output = network(torch.rand(2, 1, 32, 32))
    assert output.logits.shape == (2, 5) and len(output.features) == stages
    assert all(maps.dim() == 4 for maps in output.features)

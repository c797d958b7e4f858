"""The names, and what the catalogue costs to import."""

import subprocess
import sys

import pytest

from kd_experiments.errors import UserError
from kd_experiments.networks import CATALOGUE, build, names

PUBLIC = [
    *(f"resnet{kind}" for kind in ("8", "14", "20", "32", "44", "56", "110", "8x4", "32x4")),
    *("ResNet18", "ResNet34", "ResNet50"),
    *("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    *("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"),
    *("MobileNetV1", "MobileNetV2", "ShuffleV1", "ShuffleV2"),
    *("tv_resnet18", "tv_resnet34", "tv_resnet50", "tv_mobilenet_v2", "tv_mobilenet_v3_large"),
]


def test_it_holds_the_public_names() -> None:
    assert sorted(names()) == sorted(PUBLIC)
    assert all(entry.name == name and entry.about for name, entry in CATALOGUE.items())


def test_listing_the_names_does_not_import_torch() -> None:
    code = "import sys, kd_experiments.networks.registry as c; c.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_name_is_told_its_near_miss() -> None:
    with pytest.raises(UserError, match="did you mean resnet20"):
        build("resnet_20", classes=10)


def test_the_package_hands_out_its_types_and_nothing_else() -> None:
    from kd_experiments import networks

    assert networks.Network.__name__ == "Network" and networks.Output._fields[0] == "logits"
    with pytest.raises(AttributeError):
        _ = networks.Netwrok

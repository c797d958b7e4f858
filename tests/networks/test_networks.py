"""What holds for every network, then what is particular to some."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from kd_experiments.networks import CATALOGUE, Network, build, names
from kd_experiments.networks.__main__ import multiply_adds

SMALL = ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2", "MobileNetV1"]
LINEAR_STAGES = {"MobileNetV2", "tv_mobilenet_v2", "tv_mobilenet_v3_large"}  # stages that end without a ReLU


def images(batch: int, channels: int, size: int) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def seeded(name: str, **arguments: Any) -> Network:
    torch.manual_seed(0)
    return build(name, **{"classes": 10, **arguments})


@pytest.fixture(params=names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_output_fits_together(name: str) -> None:
    size = CATALOGUE[name].native_size
    network = seeded(name, size=size).eval()
    with torch.no_grad():
        output = network(images(2, 3, size))
        again = network.classifier(output.embedding)

    assert output.logits.shape == (2, 10)
    assert output.embedding.shape == (2, network.classifier.in_features)
    torch.testing.assert_close(output.logits, again)
    if output.last_map is not None:
        torch.testing.assert_close(output.last_map.mean((2, 3)), output.embedding)
    assert (output.last_map is None) == name.startswith("tv_mobilenet")  # layers stand behind the pooling
    assert [tuple(maps.shape[1:]) for maps in output.features] == network.feature_shapes()
    norms = network.preactivation_norms()
    assert len(output.features) == len(output.preactivations) == len(norms)
    for feature, before, norm in zip(output.features, output.preactivations, norms, strict=True):
        assert before.shape == feature.shape
        assert norm is None or norm in network.modules()
        assert norm is None or norm.num_features <= feature.shape[1]


def test_features_are_rectified_preactivations(name: str) -> None:
    network = seeded(name, channels=1, size=8).eval()
    with torch.no_grad():
        output = network(images(2, 1, 8))
    if name.startswith("wrn"):  # here a stage's sum comes before its normalisation
        for feature, before, norm in zip(
            output.features, output.preactivations, network.preactivation_norms(), strict=True
        ):
            assert norm is not None
            torch.testing.assert_close(norm(feature), before)
        return
    for stage, (feature, before) in enumerate(zip(output.features, output.preactivations, strict=True)):
        activation = {"tv_mobilenet_v2": F.relu6, "tv_mobilenet_v3_large": F.hardswish}.get(name, F.relu)
        linear = name in LINEAR_STAGES and stage > 0
        torch.testing.assert_close(before if linear else activation(before), feature)
        assert linear or before.min() < 0, "overwritten by its activation"


def test_a_training_step_runs_each_batch_norm_once_and_reaches_every_parameter(name: str) -> None:
    network = seeded(name, channels=1, size=8).train()
    runs: Counter[nn.Module] = Counter()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda module, *_: runs.update([module]))

    output = network(images(4, 1, 8))
    everything = [*output.features, *output.preactivations, output.embedding, output.logits]
    sum((value.square().mean() for value in everything), torch.zeros(())).backward()

    assert set(runs) == set(norms) and set(runs.values()) == {1}
    assert all(norm.num_batches_tracked == 1 for norm in norms)
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", [*SMALL, "ResNet18", "vgg19", "tv_mobilenet_v3_large"])
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 64)])
def test_other_image_sizes_train(name: str, channels: int, size: int) -> None:
    network = seeded(name, channels=channels, size=size).train()
    assert network(images(4, channels, size)).logits.isfinite().all()
    assert network.input_shape == (channels, size, size)


@pytest.mark.parametrize("name", [*SMALL, "ResNet18", "tv_resnet18", "tv_mobilenet_v2"])
def test_only_the_first_convolution_depends_on_the_images(name: str) -> None:
    def shapes(network: Network) -> dict[str, torch.Size]:
        return {key: value.shape for key, value in network.state_dict().items()}

    reference, gray = shapes(build(name, classes=10)), shapes(build(name, classes=10, channels=1, size=8))
    assert reference.keys() == gray.keys()
    changed = [key for key in reference if reference[key] != gray[key]]
    assert changed == [next(iter(reference))] and gray[changed[0]][1] == 1
    assert reference == shapes(build(name, classes=10, size=64))


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("ResNet34", 100, 21_328_292), ("MobileNetV1", 1000, 4_231_976)],
)
def test_parameter_counts_outside_the_golden_file(name: str, classes: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in build(name, classes=classes).parameters()) == parameters


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("tv_")])
def test_a_wrapped_network_is_torchvisions(name: str) -> None:
    network = seeded(name).eval()
    original = torchvision.models.get_model(name.removeprefix("tv_"), num_classes=10).eval()
    original.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(network(images(2, 3, 64)).logits, original(images(2, 3, 64)))


@pytest.mark.parametrize("name", ["resnet20", "wrn_16_1", "vgg8", "ShuffleV2"])
def test_in_eval_mode_an_image_does_not_see_its_batch(name: str) -> None:
    network = seeded(name, channels=1, size=8)
    for _ in range(3):
        network.train()(images(8, 1, 8))
    state = copy.deepcopy(network.state_dict())
    network.eval()
    batch = images(4, 1, 8)
    with torch.no_grad():
        together = network(batch).logits
        alone = torch.cat([network(image[None]).logits for image in batch])
    torch.testing.assert_close(together, alone)
    assert all(value.equal(state[key]) for key, value in network.state_dict().items())


def test_in_train_mode_an_image_does_see_its_batch() -> None:
    network = seeded("resnet20", channels=1, size=8).train()
    batch = images(4, 1, 8)
    assert not torch.allclose(network(batch).logits[:2], network(batch[:2]).logits)


def test_asking_for_the_shapes_changes_nothing() -> None:
    network = seeded("resnet20", channels=1, size=8).train()
    state = copy.deepcopy(network.state_dict())
    assert network.feature_shapes() == [(16, 8, 8), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert network.training
    assert all(value.equal(state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["resnet20", "vgg8", "MobileNetV2"])
def test_a_copy_is_independent(name: str) -> None:
    network = seeded(name, channels=1, size=8).eval()
    twin = copy.deepcopy(network)
    nn.init.zeros_(twin.classifier.weight)
    assert network.classifier.weight.abs().sum() > 0
    assert twin(images(1, 1, 8)).logits.equal(twin.classifier.bias[None])


def test_initialisation_is_the_benchmarks() -> None:
    resnet, wide, vgg = seeded("resnet20"), seeded("wrn_16_2"), seeded("vgg8")
    weight = resnet.get_parameter("layer3.2.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert not wide.classifier.bias.any()
    assert vgg.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not vgg.get_parameter("block4.0.bias").any() and not vgg.classifier.bias.any()
    depthwise = seeded("MobileNetV2").get_parameter("blocks.6.0.conv.3.weight")
    assert depthwise.std().item() == pytest.approx((2 / (9 * 480)) ** 0.5, rel=0.05)


def test_one_seed_one_network() -> None:
    first, second = seeded("resnet20").state_dict(), seeded("resnet20").state_dict()
    assert all(value.equal(second[key]) for key, value in first.items())


def test_vgg_leaves_out_the_pools_that_would_empty_the_map() -> None:
    def sides(size: int) -> list[int]:
        return [height for _, height, _ in build("vgg8", classes=10, size=size).feature_shapes()]

    assert sides(8) == [8, 4, 2, 1, 1]
    assert sides(28) == [28, 14, 7, 3, 3]
    assert sides(32) == [32, 16, 8, 4, 4]
    assert sides(64) == [64, 32, 16, 8, 4]


def test_multiply_adds_of_vgg8_by_hand() -> None:
    layers = [(32, 3, 64), (16, 64, 128), (8, 128, 256), (4, 256, 512), (4, 512, 512)]
    convolutions = sum(side**2 * inputs * outputs * 9 for side, inputs, outputs in layers)
    assert multiply_adds(build("vgg8", classes=100)) == convolutions + 512 * 100


def test_a_part_of_a_network_says_what_the_whole_one_says(name: str) -> None:
    size = CATALOGUE[name].native_size
    network = seeded(name, size=size).eval()
    shown = images(2, 3, size)
    with torch.no_grad():
        whole, ran = network(shown), Counter[str]()
        for module_name, module in network.named_modules():
            module.register_forward_hook(lambda *_, name=module_name: ran.update([name]))
        last = len(whole.features) - 1
        for stage in range(len(whole.features)):
            ran.clear()
            part = network.up_to(shown, stage)
            for number, (ours, theirs) in enumerate(zip(part.features, whole.features, strict=True)):
                assert torch.equal(ours, theirs) if number <= stage else ours.numel() == 0
            for number, (ours, theirs) in enumerate(zip(part.preactivations, whole.preactivations, strict=True)):
                assert torch.equal(ours, theirs) if number <= stage else ours.numel() == 0
            assert part.logits.shape == part.embedding.shape == (2, 0)
            modules = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
            assert stage == last or len(modules & set(ran)) < len(modules)


def test_a_network_that_is_one_piece_computes_everything() -> None:
    class Whole(Network):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded("resnet8")
            self.head = self.inner.fc

        def forward(self, shown: Tensor) -> Any:
            return self.inner(shown)

    network, shown = Whole().eval(), images(2, 3, 32)
    assert torch.equal(network.up_to(shown, 1).logits, network(shown).logits)

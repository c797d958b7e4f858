"""What holds for every distiller, with the values of its own file in conf/method."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_experiments.distillers import DISTILLERS
from kd_experiments.distillers.base import Distiller, LogitDistiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output, build
from kd_experiments.schema import build as make
from kd_experiments.schema import parameters
from kd_experiments.supervision.revision import Revision
from tests.conftest import composed
from tests.golden_distillers import batch

aten = torch.ops.aten
CLASSES, BATCH, SAMPLES = 4, 6, 24
LABELS = torch.arange(BATCH) % CLASSES
DISTILLING = [name for name in DISTILLERS if name != "none"]
STAGED = ["ab", "fsp", "ft"]
# distillers whose loss of a batch depends on nothing but the rows that are taught
BY_ROW = ["at", "cc", "ctkd", "dist", "dkd", "dtkd", "fsp", "kd", "kdsvd", "ldrld", "logit_mse", "mlld", "nst", "pkt",
          "rc", "rkd", "rld", "sdd", "sld", "sp", "tfkd_reg", "ttm", "vid"]  # fmt: skip
FILES = {"sdd": "sdd_kd"}  # a method file for each host, none of the wrapper's own name


@cache
def method_values(name: str) -> dict[str, Any]:
    """`method.*` as the command line composes it, values for each pair resolved."""
    values: dict[str, Any] = composed(f"method={FILES.get(name, name)}")["method"]
    return values


def options(name: str) -> dict[str, Any]:
    """The distiller's hyper-parameters in its method file; the loss of a staged method stays on."""
    given = method_values(name)
    values = {key: given[key] for key in parameters(DISTILLERS[name])}
    small = {"negatives": 10, "after_initialisation": True} | ({"k": 2} if name == "ldrld" else {})
    return values | {key: value for key, value in small.items() if key in values}


def networks(student: str = "resnet8", source: str = "resnet20") -> tuple[Network, Network]:
    torch.manual_seed(0)
    return tuple(build(name, classes=CLASSES, channels=1, size=16) for name in (student, source))  # type: ignore[return-value]


def images(batch: int = BATCH) -> Tensor:
    return torch.randn(batch, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def prepared(name: str, student: Network, source: Network, **changes: Any) -> Distiller:
    distiller = make(DISTILLERS[name], options(name) | changes, "method")
    torch.manual_seed(0)
    distiller.inspect_networks(student, source)
    distiller.inspect_labels(torch.arange(SAMPLES) % CLASSES, CLASSES)
    with torch.no_grad():
        distiller.build_modules(student.eval()(images(2)), source.eval()(images(2)))
    return distiller


@pytest.fixture(params=DISTILLING)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_its_values_stand_in_a_file_of_its_name(name: str) -> None:
    given = method_values(name)
    assert given["name"] == FILES.get(name, name) and given["distiller"] == name
    make(DISTILLERS[name], {key: given[key] for key in parameters(DISTILLERS[name])}, "method")


def test_one_step_reaches_student_and_connectors_but_not_the_teacher(name: str) -> None:
    student, source = networks()
    distiller = prepared(name, student, source)
    given = batch(student.train()(images()), source.eval()(images()), LABELS, epoch=5)

    terms = distiller(given) | (distiller.initialise(given) if name in STAGED else {})
    torch.stack(list(terms.values())).sum().backward()

    assert all(term.isfinite() and term.shape == () for term in terms.values()), terms
    reached = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert reached and all(gradient.isfinite().all() for gradient in reached)
    assert max(gradient.abs().max() for gradient in reached) > 0
    for key, parameter in distiller.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    if DISTILLERS[name].needs != "logits":  # logits are detached by the objective, features here
        assert all(parameter.grad is None for parameter in source.parameters())


def test_nothing_taught_is_exactly_zero_with_a_clean_gradient(name: str) -> None:
    student, source = networks()
    distiller = prepared(name, student, source)
    given = batch(student.train()(images()), source.eval()(images()), LABELS, weight=torch.zeros(BATCH), epoch=5)

    terms = distiller(given) | (distiller.initialise(given) if name in STAGED else {})
    torch.stack(list(terms.values())).sum().backward()

    assert all(term == 0 for term in terms.values()), terms
    for parameter in [*student.parameters(), *distiller.parameters()]:
        assert parameter.grad is None or not parameter.grad.any()


class NoWaiting(TorchDispatchMode):
    """Fails on what makes the host wait for a device: reading a value, or a shape that depends on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = func.overloadpacket in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.bincount)
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if func is aten.index.Tensor else []
        assert not waits and not masks, f"{func} makes the host wait"
        return func(*args, **(kwargs or {}))


def test_the_host_never_waits_for_the_device(name: str) -> None:
    student, source = networks()
    distiller = prepared(name, student, source)
    given = batch(student.train()(images()), source.eval()(images()), LABELS, epoch=5)
    with NoWaiting():
        terms = distiller(given) | (distiller.initialise(given) if name in STAGED else {})
        torch.stack(list(terms.values())).sum().backward()


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_that_are_not_taught_do_not_matter(name: str) -> None:
    student, source = (network.double() for network in networks())
    distiller = prepared_double(name, student, source)
    taught = torch.tensor([1, 0, 1, 1, 0, 1], dtype=torch.bool)
    with torch.no_grad():
        guided, guide = student.eval()(images().double()), source.eval()(images().double())

    whole = distiller(batch(guided, guide, LABELS, weight=taught.double() / 4, epoch=5))
    part = distiller(batch(rows(guided, taught), rows(guide, taught), LABELS[taught], epoch=5))

    for term, value in whole.items():
        torch.testing.assert_close(value, part[term], msg=f"{term}: {value} {part[term]}")


def prepared_double(name: str, student: Network, source: Network) -> Distiller:
    distiller = make(DISTILLERS[name], options(name), "method")
    torch.manual_seed(0)
    distiller.inspect_networks(student, source)
    distiller.build_modules(student.eval()(images(2).double()), source.eval()(images(2).double()))
    return distiller.double()


def rows(output: Output, chosen: Tensor) -> Output:
    return output.each(lambda part: part[chosen])


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_terms_grow_with_the_weights(name: str, weight: float) -> None:
    student, source = networks()
    distiller = prepared(name, student, source)
    given = [student.eval()(images()), source.eval()(images()), LABELS]

    def terms(scale: float) -> dict[str, Tensor]:
        torch.manual_seed(3)  # CRD draws
        if name == "crd":
            distiller.load_state_dict(memories)
        return distiller(batch(*given, weight=torch.full((BATCH,), scale / BATCH), epoch=5))  # type: ignore[arg-type]

    memories = {key: value.clone() for key, value in distiller.state_dict().items()}
    with torch.no_grad():
        once, scaled = terms(1.0), terms(weight)
    for term, value in once.items():
        torch.testing.assert_close(scaled[term], weight * value)


@pytest.mark.parametrize("name", [name for name in DISTILLING if DISTILLERS[name].uses_temperature])
def test_a_temperature_for_each_sample(name: str) -> None:
    student, source = networks()
    distiller = prepared(name, student, source)
    with torch.no_grad():
        guided, guide = student.eval()(images()), source.eval()(images())

    same = distiller(batch(guided, guide, LABELS, temperature=torch.full((BATCH,), 3.0), epoch=5))
    for term, value in distiller(batch(guided, guide, LABELS, temperature=3.0, epoch=5)).items():
        torch.testing.assert_close(same[term], value)
    if isinstance(distiller, LogitDistiller):
        each = torch.arange(1.0, BATCH + 1)
        losses = distiller.per_sample(batch(guided, guide, LABELS, temperature=each, epoch=5))
        for row, t in enumerate(each.tolist()):
            alone = distiller.per_sample(batch(guided, guide, LABELS, temperature=t, epoch=5))[row]
            torch.testing.assert_close(losses[row], alone)


class Says(Revision):
    """Whatever the source said, it should have said this of each label."""

    is_none = True  # no row counts as revised, which LRDS's loss would look at

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, logits: Tensor, labels: Tensor, temperature: Any = 1.0) -> Tensor:
        return self.value * torch.nn.functional.one_hot(labels, CLASSES) + torch.arange(CLASSES)


@pytest.mark.parametrize("name", [name for name in DISTILLING if DISTILLERS[name].reads_logits() and name != "sdd"])
def test_a_revision_is_heard(name: str) -> None:
    """The loss depends on the logits after revision, never on what the source said before."""
    student, source = networks()
    distiller = prepared(name, student, source)
    with torch.no_grad():
        guided, guide = student.eval()(images()), source.eval()(images())
        other = guide._replace(logits=guide.logits.flip(0) * 2)
        once, again, changed = (
            distiller(batch(guided, said, LABELS, revision=Says(value), epoch=5))
            for said, value in ((guide, 3.0), (other, 3.0), (guide, 5.0))
        )
    assert once == again
    assert DISTILLERS[name].needs_source == (once != changed)


@pytest.mark.parametrize("name", [name for name in DISTILLING if DISTILLERS[name].needs != "logits"])
@pytest.mark.parametrize(
    ("pupil", "master"),
    [("resnet8", "vgg8"), ("vgg8", "resnet8"), ("ShuffleV1", "wrn_16_1"), ("MobileNetV2", "resnet8x4")],
)
def test_networks_of_different_families(name: str, pupil: str, master: str) -> None:
    student, source = networks(pupil, master)
    if name == "fsp":
        with pytest.raises(UserError, match="equally wide"):
            prepared(name, student, source)
        return
    distiller = prepared(name, student, source)
    given = batch(student.train()(images()), source.eval()(images()), LABELS, epoch=5)
    terms = distiller(given) | (distiller.initialise(given) if name in STAGED else {})
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    for parameter in [*student.parameters(), *distiller.parameters()]:
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_a_checkpoint_carries_what_was_learned(name: str) -> None:
    student, source = networks()
    distiller, again = prepared(name, student, source), prepared(name, student, source)
    for parameter in distiller.parameters():
        parameter.data.add_(1.0)
    again.load_state_dict(distiller.state_dict())
    for key, value in distiller.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize("name", STAGED)
def test_an_initialisation_stage_takes_over_for_its_epochs(name: str) -> None:
    assert make(DISTILLERS[name], options(name) | {"initialisation_epochs": 3}, "method").initialisation_epochs == 3
    assert DISTILLERS["kd"].initialisation_epochs == 0


@pytest.mark.parametrize("name", ["ab", "fsp"])
def test_after_the_initialisation_only_the_label_teaches(name: str) -> None:
    student, source = networks()
    distiller = prepared(name, student, source, after_initialisation=False)
    assert distiller(batch(student(images()), source(images()), LABELS)) == {}

"""Reference losses of the distillers; importing this module makes them known to `tests.golden_losses`.

A case goes through the distiller's class wherever the class has no learned parts between the arrays and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.ab import ab
from kd_experiments.distillers.at import AT
from kd_experiments.distillers.base import DistillationBatch, Distiller, SecondView, Targets
from kd_experiments.distillers.cc import cc
from kd_experiments.distillers.dist import DIST
from kd_experiments.distillers.dkd import DKD
from kd_experiments.distillers.dtkd import DTKD
from kd_experiments.distillers.fsp import FSP
from kd_experiments.distillers.ft import ft
from kd_experiments.distillers.kd import KD
from kd_experiments.distillers.ldrld import LDRLD, local_relations, remaining_classes
from kd_experiments.distillers.nst import NST
from kd_experiments.distillers.ofd import ofd
from kd_experiments.distillers.pkt import PKT
from kd_experiments.distillers.rc import correction
from kd_experiments.distillers.reviewkd import hcl
from kd_experiments.distillers.rkd import RKD
from kd_experiments.distillers.rld import RLD
from kd_experiments.distillers.sdd import SDD, region_logits
from kd_experiments.distillers.sld import SLD
from kd_experiments.distillers.sp import SP
from kd_experiments.distillers.ttm import TTM, power_sum
from kd_experiments.networks import Output
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import NoRevision, ProbabilityShift, Revision, TemperatureValue
from kd_experiments.supervision.temperature import LargestLogit, LogitDeviation, Temperatures, standardise
from kd_experiments.supervision.weighting import ConstantWeighting, SampleWeights
from tests.golden_losses import KNOWN, Answer, Arrays, known, objective_loss


def batch(
    student: Output,
    source: Output,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    temperature: TemperatureValue | Temperatures = 4.0,
    revision: Revision | None = None,
    epoch: int = 0,
    epochs: int = 240,
) -> DistillationBatch:
    """Samples that all count 1/B unless weights are given, nothing revised unless asked for; the second view is the
    first.
    """
    like = student.logits
    targets = Targets(source.logits, labels, revision or NoRevision(), output=source)
    temperatures = Temperatures.of(temperature)
    return DistillationBatch(
        student=student,
        targets=targets,
        labels=labels,
        index=torch.arange(len(labels)),
        weights=SampleWeights(
            torch.full((len(labels),), 1 / len(labels), dtype=like.dtype) if weight is None else weight
        ),
        temperature=temperatures,
        progress=Progress.at(epoch, epochs, like=like),
        second=SecondView(student, targets, temperatures),
    )


def loss(distiller: Distiller, given: DistillationBatch) -> Tensor:
    return torch.stack(list(distiller(given).values())).sum()


def logit_lesson(a: Arrays, temperature: TemperatureValue | Temperatures) -> DistillationBatch:
    student, teacher = a["student_logits"], a["teacher_logits"]
    return batch(
        Output(student, (), (), student), Output(teacher, (), (), teacher), a["labels"], temperature=temperature
    )


def stages(a: Arrays, who: str) -> tuple[Tensor, ...]:
    """The maps of one network, shallow to deep."""
    return tuple(a[name] for name in sorted(name for name in a if name.startswith(f"{who}_feat")))


def feature_lesson(a: Arrays, stem: bool = True) -> DistillationBatch:
    """The arrays as two networks' outputs; they hold no stem, so one is put before them unless all are compared."""

    def output(who: str) -> Output:
        maps = stages(a, who)
        return Output(a[f"{who}_logits"], (*maps[:1], *maps) if stem else maps, (), a[f"{who}_embed"])

    return batch(output("student"), output("teacher"), a["labels"])


@known("dkd_")
def _dkd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(DKD(h["alpha"], h["beta"]), logit_lesson(a, h["temperature"]))


@known("dist_")
def _dist(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(DIST(h["beta"], h["gamma"]), logit_lesson(a, h["temperature"]))


@known("logit_standardisation_kd")
def _standardised_kd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    scaled = {**a, **{name: standardise(a[name]) for name in ("student_logits", "teacher_logits")}}
    return loss(KD(), logit_lesson(scaled, h["temperature"]))


@known("rld_")
def _rld(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(RLD(h["alpha"], h["beta"], h["alpha_temperature"]), logit_lesson(a, h["temperature"]))


@known("rc_")
def _rc(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return correction(a["student_logits"], a["labels"], h["temperature"]).mean()


@known("at_")
def _at(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(AT(h["p"]), feature_lesson(a))


@known("sp_")
def _sp(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(SP(), feature_lesson(a))


@known("nst_")
def _nst(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(NST(), feature_lesson(a))


@known("cc_")
def _cc(h: Mapping[str, Any], a: Arrays) -> Tensor:
    everyone = torch.ones_like(a["labels"], dtype=torch.bool)
    return cc(a["student_embed"], a["teacher_embed"], everyone)


@known("rkd_")
def _rkd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(RKD(h["distance_weight"], h["angle_weight"]), feature_lesson(a))


@known("pkt")
def _pkt(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(PKT(h["eps"]), feature_lesson(a))


@known("fsp")
def _fsp(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return loss(FSP(0, True), feature_lesson(a, stem=False))


@known("ab_")
def _ab(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return ab(stages(a, "student"), stages(a, "teacher"), h["margin"]).mean()


@known("ft_")
def _ft(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return ft(a["student_feat2"], a["teacher_feat2"], h["p1"], h["p2"]).mean()


@known("hcl")
def _hcl(h: Mapping[str, Any], a: Arrays) -> Tensor:
    pairs: Sequence[tuple[Tensor, Tensor]] = list(zip(stages(a, "student"), stages(a, "teacher"), strict=True))
    return torch.stack([hcl(student, teacher) for student, teacher in pairs]).sum(0).mean()


@known("ofd_")
def _ofd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return ofd(a["student_feat2"], a["teacher_feat2"], a["ofd_margin"]).mean()


# losses2.json


@known("sld_swap_student_logits")
def _swapped(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return ProbabilityShift()(a["student_logits"], a["labels"])


def _sld(h: Mapping[str, Any], a: Arrays, epochs: int = 240) -> tuple[SLD, Progress]:
    """Temperatures as they are, times 1; epochs counted from 0."""
    start = (h["pseudo_teacher_from_epoch"] - 1) / epochs
    distiller = SLD(tuple(h["temperatures"]), start, h["pseudo_teacher_detached"])
    return distiller, Progress.at(h["epoch"] - 1, epochs, like=a["student_logits"])


@known("sld_kd_")
def _sld_kd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    """One view: half of two equal ones."""
    distiller, progress = _sld(h, a)
    outputs = [Output(a[name], (), (), a[name]) for name in ("student_logits", "teacher_logits")]
    given = batch(*outputs, a["labels"], temperature=1.0, revision=ProbabilityShift())
    return loss(distiller, replace(given, progress=progress)) / 2


@known("sld_total_")
def _sld_total(h: Mapping[str, Any], a: Arrays) -> Tensor:
    distiller, progress = _sld(h, a)
    return objective_loss(
        a, distiller, revision=ProbabilityShift(), weighting=ConstantWeighting(), temperature=1.0,
        label_weight=h["ce_weight"], weight=h["kd_weight"], progress=progress,
    )  # fmt: skip


@known("ttm_")
def _ttm(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return TTM(weighted=False).per_sample(logit_lesson(a, h["temperature"]))


@known("wttm_")
def _wttm(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return TTM(weighted=True).per_sample(logit_lesson(a, h["temperature"]))


@known("wttm_weights_")
def _power_sum(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return power_sum(a["teacher_logits"], h["temperature"])


def _largest_logit(h: Mapping[str, Any], a: Arrays) -> Temperatures:
    return LargestLogit(h["temperature"], 1e-6, False)(a["student_logits"], a["teacher_logits"])


@known("dtkd_teacher_temperature_")
def _dtkd_teacher(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return torch.as_tensor(_largest_logit(h, a).teacher)


@known("dtkd_student_temperature_")
def _dtkd_student(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return torch.as_tensor(_largest_logit(h, a).student)


@known("dtkd_kl_")
def _dtkd_kl(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return KD().per_sample(logit_lesson(a, _largest_logit(h, a)))


@known("dtkd_total_")
def _dtkd_total(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return objective_loss(
        a, DTKD(h["alpha"], h["beta"], h["temperature"]), revision=NoRevision(), weighting=ConstantWeighting(),
        temperature=LargestLogit(h["temperature"], 1e-6, False), label_weight=h["ce_weight"], weight=1.0,
        warm_up_epochs=h["warmup"], progress=Progress.at(h["epoch"] - 1, 240, like=a["student_logits"]),
    )  # fmt: skip


def _deviations(h: Mapping[str, Any], a: Arrays) -> Temperatures:
    return LogitDeviation(h["temperature_norm"])(a["student_logits"], a["teacher_logits"])


@known("normkd_")
def _normkd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return KD().per_sample(logit_lesson(a, _deviations(h, a)))


@known("normkd_dkd_")
def _normkd_dkd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return DKD(h["alpha"], h["beta"]).per_sample(logit_lesson(a, _deviations(h, a)))


def _region_logits(who: str) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        return region_logits(a[f"{who}_map"], h["scales"], a[f"{who}_weight"], a[f"{who}_bias"]).mT

    return answer


KNOWN["sdd_student_region_logits"] = _region_logits("student")
KNOWN["sdd_teacher_region_logits"] = _region_logits("teacher")


def _sdd(host: Callable[[Mapping[str, Any]], Distiller]) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        distiller = SDD(tuple(h["scales"]), h["complementary_weight"], host(h))
        heads = [SimpleNamespace(weight=a[f"{who}_weight"], bias=a[f"{who}_bias"]) for who in ("student", "teacher")]
        distiller.inspect_networks(*(SimpleNamespace(classifier=head) for head in heads))  # type: ignore[arg-type]
        outputs = [mapped(a[f"{who}_map"], head) for who, head in zip(("student", "teacher"), heads, strict=True)]
        return distiller.per_sample(batch(*outputs, a["labels"], temperature=h["temperature"]))

    return answer


def mapped(maps: Tensor, head: Any) -> Output:
    """What a network says whose last map and classifier these are."""
    embedding = maps.mean((2, 3))
    return Output(F.linear(embedding, head.weight, head.bias), (), (), embedding, maps)


KNOWN["sdd_kd_"] = _sdd(lambda h: KD())
KNOWN["sdd_dkd_"] = _sdd(lambda h: DKD(h["alpha"], h["beta"]))


@known("ldrld_local_")
def _ldrld_local(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return local_relations(a["student_logits"], a["teacher_logits"], h["k"], h["decay"], h["temperature"])


@known("ldrld_rest_")
def _ldrld_rest(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return remaining_classes(a["student_logits"], a["teacher_logits"], h["k"], h["temperature"])


@known("ldrld_total_")
def _ldrld_total(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return objective_loss(
        a, LDRLD(h["alpha"], h["beta"], h["k"], h["decay"]), revision=NoRevision(), weighting=ConstantWeighting(),
        temperature=h["temperature"], label_weight=h["ce_weight"], weight=1.0,
    )  # fmt: skip

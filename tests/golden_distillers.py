"""Reference losses of the distillers; importing this module makes them known to `tests.golden_losses`.

A case goes through the distiller's class wherever the class has no learned parts between the arrays and the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kd_experiments.distillers.ab import ab
from kd_experiments.distillers.at import AT
from kd_experiments.distillers.base import DistillationBatch, Distiller, SecondView, Targets
from kd_experiments.distillers.cc import cc
from kd_experiments.distillers.dist import DIST
from kd_experiments.distillers.dkd import DKD
from kd_experiments.distillers.fsp import FSP
from kd_experiments.distillers.ft import ft
from kd_experiments.distillers.kd import KD, standardise
from kd_experiments.distillers.nst import NST
from kd_experiments.distillers.ofd import ofd
from kd_experiments.distillers.pkt import PKT
from kd_experiments.distillers.rc import correction
from kd_experiments.distillers.reviewkd import hcl
from kd_experiments.distillers.rkd import RKD
from kd_experiments.distillers.rld import RLD
from kd_experiments.distillers.sp import SP
from kd_experiments.networks import Output
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import TemperatureValue, wrong_rows
from kd_experiments.supervision.weighting import SampleWeights
from tests.golden_losses import Arrays, known


def batch(
    student: Output,
    source: Output,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    temperature: TemperatureValue = 4.0,
    epoch: int = 0,
    epochs: int = 240,
) -> DistillationBatch:
    """Samples that all count 1/B, unless weights are given; nothing is revised, and the second view is the first."""
    like = student.logits
    wrong = wrong_rows(source.logits, labels)
    targets = Targets(source.logits, source.logits, wrong, torch.zeros_like(wrong), source)
    return DistillationBatch(
        student=student,
        targets=targets,
        labels=labels,
        index=torch.arange(len(labels)),
        weights=SampleWeights(
            torch.full((len(labels),), 1 / len(labels), dtype=like.dtype) if weight is None else weight
        ),
        temperature=temperature,
        progress=Progress.at(epoch, epochs, like=like),
        second=SecondView(student, targets, temperature),
    )


def loss(distiller: Distiller, given: DistillationBatch) -> Tensor:
    return torch.stack(list(distiller(given).values())).sum()


def logit_lesson(a: Arrays, temperature: TemperatureValue) -> DistillationBatch:
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

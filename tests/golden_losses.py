"""Reference losses, computed with the project's own functions in float64.

`compute(case, arrays)` answers for one case of a `losses.json`; it knows a case by the family its id begins with and
reads every number from the case's hyper-parameters, so that other values, batch sizes and class counts work too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kd_experiments.distillers.base import Distiller
from kd_experiments.distillers.kd import KD, kd
from kd_experiments.distillers.logit_mse import LogitMSE
from kd_experiments.networks import Output
from kd_experiments.supervision import label_loss as labels_say
from kd_experiments.supervision import temperature as sharp
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import (
    LabelRevision,
    ProbabilityShift,
    Revision,
    SmoothedLabel,
    TwoClassAverage,
    probability_shift,
    wrong_rows,
)
from kd_experiments.supervision.weighting import RightThenWrong, RightWrong, Weighting
from kd_experiments.training.objective import Batch, Objective

Arrays = Mapping[str, Tensor]
Answer = Callable[[Mapping[str, Any], Arrays], Tensor]

KNOWN: dict[str, Answer] = {}


def known(prefix: str) -> Callable[[Answer], Answer]:
    def add(answer: Answer) -> Answer:
        KNOWN[prefix] = answer
        return answer

    return add


def compute(case: Mapping[str, Any], arrays: Arrays) -> Tensor:
    """The project's value of a case; KeyError for an id it does not know."""
    fitting = [prefix for prefix in KNOWN if case["id"].startswith(prefix)]
    if not fitting:
        raise KeyError(case["id"])
    return KNOWN[max(fitting, key=len)](case["hyperparameters"], arrays)


def objective_loss(
    arrays: Arrays,
    distiller: Distiller,
    *,
    revision: Revision,
    weighting: Weighting,
    temperature: float,
    label_weight: float,
    weight: float,
    label_rows: Any = "all",
    progress: Progress | None = None,
) -> Tensor:
    """The loss the training loop would compute, every sample selected."""
    student, teacher, labels = arrays["student_logits"], arrays["teacher_logits"], arrays["labels"]
    objective = Objective(
        label_loss=labels_say.CrossEntropy(),
        distiller=distiller,
        revision=revision,
        weighting=weighting,
        temperature=sharp.ConstantTemperature(temperature),
        label_weight=label_weight,
        label_rows=label_rows,
        weight=weight,
    )
    batch = Batch(torch.arange(len(labels)), student, labels, labels, torch.ones(len(labels), dtype=student.dtype))
    source = Output(teacher, (), (), teacher)
    progress = progress or Progress.at(0, 1, like=student)
    return objective(batch, Output(student, (), (), student), source, progress).loss


@known("kd_kl")
def _kd(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return kd(a["student_logits"], a["teacher_logits"], h["temperature"]).mean()


@known("cross_entropy")
def _cross_entropy(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return labels_say.cross_entropy(a["student_logits"], a["labels"]).mean()


@known("label_revision_rld_code")
def _label_revision_loss(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return objective_loss(
        a,
        LogitMSE(),
        revision=LabelRevision(h["eta"], "one"),
        weighting=RightWrong(h["lambda1"], h["lambda2"]),
        temperature=1.0,
        label_weight=1.0,
        label_rows="right",
        weight=1.0,
    )


@known("label_revision_targets")
def _label_revision_targets(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return torch.softmax(LabelRevision(h["eta"], "one")(a["teacher_logits"], a["labels"]), 1)


@known("probability_shift_logits")
def _probability_shift(h: Mapping[str, Any], a: Arrays) -> Tensor:
    logits, labels = a["teacher_logits"], a["labels"]
    shifted = ProbabilityShift()(logits, labels)
    assert torch.equal(
        shifted, torch.where(wrong_rows(logits, labels)[:, None], probability_shift(logits, labels), logits)
    )
    return shifted


@known("lsr_targets")
def _smoothed_label(h: Mapping[str, Any], a: Arrays) -> Tensor:
    t = h["temperature"]
    return torch.softmax(SmoothedLabel(h["epsilon"])(a["teacher_logits"], a["labels"], t) / t, 1)


@known("dtd_flsw_temperature")
def _flsw(h: Mapping[str, Any], a: Arrays) -> Tensor:
    weights = sharp.FLSW(h["tau0"], h["beta"], h["gamma"]).weights(a["student_logits"], a["teacher_logits"])
    return sharp.dynamic_temperature(weights, h["tau0"], h["beta"])


@known("dtd_cwsm_temperature")
def _cwsm(h: Mapping[str, Any], a: Arrays) -> Tensor:
    weights = sharp.CWSM(h["tau0"], h["beta"]).weights(a["student_logits"], a["student_logits"])
    return sharp.dynamic_temperature(weights, h["tau0"], h["beta"])


@known("btkd_average_rectified_probabilities")
def _two_class_average(h: Mapping[str, Any], a: Arrays) -> Tensor:
    t = h["temperature"]
    return torch.softmax(TwoClassAverage()(a["teacher_logits"], a["labels"], t) / t, 1)


def _btkd(revision: Revision) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        return objective_loss(
            a,
            KD(),
            revision=revision,
            weighting=RightThenWrong("cos2", "subset"),
            temperature=h["temperature"],
            label_weight=h["lam"],
            weight=1 - h["lam"],
            progress=Progress.at(h["epoch"], h["epochs"], like=a["student_logits"]),
        )

    return answer


KNOWN["btkd_swap_epoch"] = _btkd(ProbabilityShift())
KNOWN["btkd_average_epoch"] = _btkd(TwoClassAverage())


def _label_loss(make: Callable[[Mapping[str, Any]], labels_say.LabelLoss]) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        progress = Progress.at(0, 1, h.get("progress", 0.0), like=a["student_logits"])
        return make(h)(a["student_logits"], a["labels"], progress).mean()

    return answer


KNOWN["label_smoothing"] = _label_loss(lambda h: labels_say.LabelSmoothing(h["epsilon"]))
KNOWN["confidence_penalty"] = _label_loss(lambda h: labels_say.ConfidencePenalty(h["epsilon"]))
KNOWN["boot_soft"] = _label_loss(lambda h: labels_say.BootSoft(h["epsilon"]))
KNOWN["proselflc"] = _label_loss(lambda h: labels_say.ProSelfLC(h["B"]))

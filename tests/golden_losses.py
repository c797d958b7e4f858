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
    LabelAverage,
    LabelAverageLogits,
    LabelRevision,
    ProbabilityShift,
    Revision,
    SmoothedLabel,
    TwoClassAverage,
    TwoClassAverageLogits,
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


def is_known(case: Mapping[str, Any]) -> bool:
    return any(case["id"].startswith(prefix) for prefix in KNOWN)


def compute(case: Mapping[str, Any], arrays: Arrays) -> Tensor:
    """The project's value of a case, or a loss for each sample where the case has their mean."""
    return KNOWN[max(filter(case["id"].startswith, KNOWN), key=len)](case["hyperparameters"], arrays)


def objective_loss(
    arrays: Arrays,
    distiller: Distiller,
    *,
    revision: Revision,
    weighting: Weighting,
    temperature: float | sharp.Temperature,
    label_weight: float,
    weight: float,
    label_rows: Any = "all",
    warm_up_epochs: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """The loss the training loop would compute, every sample selected; with a second view where the arrays hold one."""
    student, teacher, labels = arrays["student_logits"], arrays["teacher_logits"], arrays["labels"]
    objective = Objective(
        label_loss=labels_say.CrossEntropy(),
        distiller=distiller,
        revision=revision,
        weighting=weighting,
        temperature=sharp.ConstantTemperature(temperature) if isinstance(temperature, float) else temperature,
        label_weight=label_weight,
        label_rows=label_rows,
        weight=weight,
        warm_up_epochs=warm_up_epochs,
    )
    batch = Batch(torch.arange(len(labels)), student, labels, labels, torch.ones(len(labels), dtype=student.dtype))
    progress = progress or Progress.at(0, 1, like=student)
    names = ("student_logits_strong", "teacher_logits_strong")
    second = tuple(said(arrays[name]) for name in names) if distiller.needs_second_view else None
    return objective(batch, said(student), said(teacher), progress, second=second).loss  # type: ignore[arg-type]


def said(logits: Tensor) -> Output:
    return Output(logits, (), (), logits)


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


def _rectified(revision: Revision) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        t = h["temperature"]
        return torch.softmax(revision(a["teacher_logits"], a["labels"], t) / t, 1)

    return answer


KNOWN["btkd_average_rectified_probabilities"] = _rectified(TwoClassAverage())
KNOWN["btkd_label_average_probabilities"] = _rectified(LabelAverage())


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


NO_GUARD = 1e-12
KNOWN["btkd_average_logits"] = lambda h, a: TwoClassAverageLogits(NO_GUARD)(a["teacher_logits"], a["labels"])
KNOWN["btkd_label_average_logits"] = lambda h, a: LabelAverageLogits()(a["teacher_logits"], a["labels"])
KNOWN["btkd_average_logits_epoch"] = _btkd(TwoClassAverageLogits(NO_GUARD))
KNOWN["btkd_label_average_logits_epoch"] = _btkd(LabelAverageLogits())
KNOWN["btkd_swap_epoch"] = _btkd(ProbabilityShift())
KNOWN["btkd_average_epoch"] = _btkd(TwoClassAverage())


def _label_loss(make: Callable[[Mapping[str, Any]], labels_say.LabelLoss]) -> Answer:
    def answer(h: Mapping[str, Any], a: Arrays) -> Tensor:
        progress = Progress.at(0, 1, h.get("progress", 0.0), like=a["student_logits"])
        return make(h)(a["student_logits"], a["labels"], progress)

    return answer


KNOWN["label_smoothing"] = _label_loss(lambda h: labels_say.LabelSmoothing(h["epsilon"]))
KNOWN["confidence_penalty"] = _label_loss(lambda h: labels_say.ConfidencePenalty(h["epsilon"]))
KNOWN["boot_soft"] = _label_loss(lambda h: labels_say.BootSoft(h["epsilon"]))
KNOWN["proselflc"] = _label_loss(lambda h: labels_say.ProSelfLC(h["B"]))


def _self_correction(h: Mapping[str, Any]) -> labels_say.ProSelfLC:
    return labels_say.ProSelfLC(h["B"], h["trust"], h["transit_time_ratio"], h["logit_soften_T"] or 1.0, detached=True)


KNOWN["selflc_trust_"] = _label_loss(_self_correction)


@known("selflc_trust_epsilon_")
def _trust(h: Mapping[str, Any], a: Arrays) -> Tensor:
    return _self_correction(h).epsilon(a["student_logits"], Progress.at(0, 1, h["progress"], like=a["student_logits"]))

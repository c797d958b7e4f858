"""One learner's loss on one batch: the five questions, asked in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kd_experiments.distillers.base import DistillationBatch, Distiller, SecondView, Targets
from kd_experiments.distillers.kd import kd
from kd_experiments.distillers.warm_up import warm_up
from kd_experiments.networks import Output
from kd_experiments.supervision.label_loss import LabelLoss
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import NoRevision, Revision
from kd_experiments.supervision.temperature import Temperature, Temperatures, drawn, standardise
from kd_experiments.supervision.weighting import SampleWeights, Weighting


@dataclass(frozen=True)
class Batch:
    """A batch of the training set; `selected` is 1 for samples the source may teach, else 0.

    Of several processes that train one network each holds its own b of the B images; a single one holds all.
    """

    index: Tensor  # (B,) int64
    images: Tensor  # (b, C, H, W) float32, in this epoch's view
    labels: Tensor  # (B,) as given
    true_labels: Tensor  # (B,) before label noise
    selected: Tensor  # (B,) float32
    strong_images: Tensor | None = None  # (b, C, H, W) float32, the same samples in a second, strong view
    own_index: Tensor | None = None  # (b,) int64, the samples of `images`; None where one process holds all

    @property
    def own(self) -> Tensor:
        """The samples of `images`, (b,) int64."""
        return self.index if self.own_index is None else self.own_index


@dataclass(frozen=True)
class LossTerms:
    """Named loss terms, which sum to the loss, and statistics worth a curve; all () tensors on the device."""

    terms: dict[str, Tensor]
    statistics: dict[str, Tensor]

    @property
    def loss(self) -> Tensor:
        return torch.stack(list(self.terms.values())).sum()


class Objective(nn.Module):
    """Label loss plus distillation, with revision, weighting and temperature as parts.

    A sample that the source may not teach is supervised by its label with weight 1, whatever `label_weight` is, so
    that selecting nobody is plain supervised training [ours]. A taught sample with a second view has its label loss on
    both, each with `label_weight`. Where a KD term is added to a feature method, the weighting is the KD term's alone,
    as in BTKD's plug-in form [paper], and every selected sample counts alike in the feature term. `standardise`
    compares z-scores of the logits, and revises them; temperatures are drawn from the logits themselves [ours].
    """

    def __init__(
        self,
        *,
        label_loss: LabelLoss,
        distiller: Distiller,
        revision: Revision,
        weighting: Weighting,
        temperature: Temperature,
        label_weight: float,
        label_rows: Literal["all", "right"],
        weight: float,
        kd_weight: float = 0.0,
        standardise: bool = False,
        warm_up_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.label_loss = label_loss
        self.distiller = distiller
        self.revision = revision
        self.weighting = weighting
        self.temperature = temperature
        self.label_weight = label_weight
        self.label_rows = label_rows
        self.weight = weight
        self.kd_weight = kd_weight
        self.standardise = standardise
        self.warm_up_epochs = warm_up_epochs

    def forward(
        self,
        batch: Batch,
        student: Output,
        source: Output | None,
        progress: Progress,
        initialising: bool = False,
        second: tuple[Output, Output] | None = None,
    ) -> LossTerms:
        """Judge the student's output; `source` carries no gradient back to a teacher or a peer.

        While `initialising`, the distiller's initialisation takes the place of every other term. `second` is what
        student and source say about the strong view; which samples are taught is decided on the first one [ours].
        """
        label_losses = self.label_loss(student.logits, batch.labels, progress)
        if source is None:
            return self._without_source(batch, student, label_losses, progress)
        student, targets, temperature = self._compare(student, source, batch.labels)
        raw, wrong = targets.raw_logits, targets.wrong
        weights = SampleWeights(self.weighting(raw, wrong, batch.selected, progress))
        everyone = SampleWeights(batch.selected / len(batch.selected))
        compared = DistillationBatch(
            student=student,
            targets=targets,
            labels=batch.labels,
            index=batch.index,
            weights=weights if self.distiller.reads_logits() or self.kd_weight == 0 else everyone,
            temperature=temperature,
            progress=progress,
            second=None if second is None else SecondView(*self._compare(*second, batch.labels)),
        )
        if initialising:
            return LossTerms(self.distiller.initialise(compared), {})
        strong_losses = None if second is None else self.label_loss(second[0].logits, batch.labels, progress)
        terms = {"label": self._label_term(label_losses, strong_losses, wrong, batch.selected)}
        weight = self.weight * warm_up(progress, self.warm_up_epochs)
        terms |= {name: weight * term for name, term in self.distiller(compared).items()}
        if self.kd_weight > 0:
            losses = kd(student.logits, targets.at(temperature), temperature)
            terms["added_kd"] = self.kd_weight * weights.mean(losses)
        return LossTerms(terms, self._statistics(batch, raw, wrong, weights, temperature, progress))

    def _compare(self, student: Output, source: Output, labels: Tensor) -> tuple[Output, Targets, Temperatures]:
        """What is compared with what in one view, and how sharply."""
        targets = Targets(source.logits.detach(), labels, self.revision, self.standardise, source)
        temperature = drawn(self.temperature, self.revision, student.logits, targets.raw_logits, labels)
        if self.standardise:
            student = student._replace(logits=standardise(student.logits))
        return student, targets, temperature

    def _without_source(self, batch: Batch, student: Output, label_losses: Tensor, progress: Progress) -> LossTerms:
        """The label loss, and the terms of a distiller that needs no network to learn from (a virtual teacher)."""
        own = student.logits.detach()
        compared = DistillationBatch(
            student=student,
            targets=Targets(own, batch.labels, NoRevision()),
            labels=batch.labels,
            index=batch.index,
            weights=SampleWeights(batch.selected / len(batch.selected)),
            temperature=Temperatures.of(self.temperature(own, own)),
            progress=progress,
        )
        weight = self.weight * warm_up(progress, self.warm_up_epochs)
        terms = {name: weight * term for name, term in self.distiller(compared).items()}
        return LossTerms({"label": self.label_weight * label_losses.mean()} | terms, {})

    def _label_term(self, losses: Tensor, strong_losses: Tensor | None, wrong: Tensor, selected: Tensor) -> Tensor:
        losses = (1 + (self.label_weight - 1) * selected) * losses
        if strong_losses is not None:
            losses = losses + self.label_weight * selected * strong_losses
        if self.label_rows == "all":
            return losses.mean()
        kept = 1 - selected * wrong  # a wrong row the source teaches gets no label term
        return (kept * losses).sum() / kept.sum().clamp_min(1)

    def _statistics(
        self,
        batch: Batch,
        raw: Tensor,
        wrong: Tensor,
        weights: SampleWeights,
        temperature: Temperatures,
        progress: Progress,
    ) -> dict[str, Tensor]:
        """Shares are of the batch; they are averaged over an epoch by sample."""
        taught = weights.taught.float()
        statistics = {
            "source_wrong_share": wrong.float().mean(),
            "taught_share": taught.mean(),
            # knowledge that is taught and true: its precision is this share over `taught_share`
            "taught_true_share": (taught * (raw.argmax(1) == batch.true_labels)).mean(),
            "revised_share": (wrong * taught).mean()
            if not self.revision.is_none
            else torch.zeros_like(progress.fraction),
        }
        for name, used in (("temperature", temperature.teacher), ("student_temperature", temperature.student)):
            if isinstance(used, Tensor) and (name == "temperature" or used is not temperature.teacher):
                statistics[f"{name}_mean"] = used.detach().mean()
        if self.temperature.minimum is not None and isinstance(temperature.teacher, Tensor):
            clamped = temperature.teacher <= self.temperature.minimum
            statistics["temperature_clamped_share"] = clamped.float().mean()
        return statistics | self.weighting.statistics(raw.shape[1], progress)

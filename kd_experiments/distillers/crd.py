"""Contrastive representation distillation (Tian et al., "Contrastive representation distillation", ICLR 2020)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import source_of
from kd_experiments.errors import UserError
from kd_experiments.networks import Output
from kd_experiments.schema import Count, Interval, Positive
from kd_experiments.supervision.precision import full_precision

ROWS_AT_ONCE = 32  # a memory of at most so many times the drawn samples is multiplied as a whole on a CPU


@full_precision
def contrast(scores: Tensor, samples: int) -> Tensor:
    """Noise-contrastive loss of K + 1 scores, the true pair first, (B, K + 1) -> (B,).

    -log(s_0 / (s_0 + m)) - sum_k log(m / (s_k + m)), m = K / N; 1e-7 is added to each denominator [code].
    """
    noise = (scores.shape[1] - 1) / samples
    true, others = scores[:, 0], scores[:, 1:]
    # -log(m / (s + m)) is log1p(s / m): fewer passes over all samples, and exact where s is small beside m
    return -(true / (true + noise + 1e-7)).log() + others.add(1e-7).div(noise).log1p().sum(1)


class Memory(nn.Module):
    """A running embedding of every training sample, and the constant that scales the scores against them.

    The constant is the mean score of the first batch times the number of samples [code].
    """

    embeddings: Tensor
    scale: Tensor

    def __init__(self, samples: int, dimension: int) -> None:
        super().__init__()
        bound = math.sqrt(3 / dimension)
        self.register_buffer("embeddings", torch.empty(samples, dimension).uniform_(-bound, bound))
        self.register_buffer("scale", torch.zeros(()))

    def scores(self, embedding: Tensor, places: Tensor, temperature: float) -> Tensor:
        """exp(v . m / T) / Z, (B, D), (B, K + 1) -> (B, K + 1)."""
        embedding = embedding / temperature
        if embedding.device.type == "cpu" and len(self.embeddings) <= ROWS_AT_ONCE * places.shape[1]:
            # All products at once take a twelfth of the time of reading the drawn rows. Their gradients would be
            # added in any order on a GPU, where reading costs little. A copy: `remember` precedes the backward pass.
            similarities = (embedding @ self.embeddings.clone().T).gather(1, places)
        else:
            similarities = torch.bmm(self.embeddings[places], embedding[:, :, None])[:, :, 0]
        scores = similarities.exp()
        scale = torch.where(self.scale > 0, self.scale, scores.detach().mean() * len(self.embeddings))
        self.scale.copy_(scale)
        return scores / scale

    @torch.no_grad()
    def remember(self, embedding: Tensor, index: Tensor, momentum: float) -> None:
        """Move the embeddings of these samples towards the new ones."""
        moved = momentum * self.embeddings[index] + (1 - momentum) * embedding
        self.embeddings[index] = F.normalize(moved)


@DISTILLERS.register("crd")
class CRD(Distiller):
    """Student and teacher embed a sample alike, and unlike `negatives` samples of other classes, always drawn anew."""

    needs: ClassVar[Needs] = "embedding"
    by_class: Tensor
    first: Tensor
    size: Tensor

    def __init__(
        self,
        dimension: Count,
        negatives: Count,
        contrast_temperature: Positive,
        momentum: Annotated[float, Interval(at_least=0, under=1)],
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.negatives = negatives
        self.contrast_temperature = contrast_temperature
        self.momentum = momentum

    def inspect_labels(self, labels: Tensor, classes: int) -> None:
        if len(labels) < self.negatives:
            raise UserError(
                f"method.negatives={self.negatives}: the training set has {len(labels)} samples only; choose at most "
                f"that many, such as method.negatives={max(len(labels) // 3, 1)}"
            )
        labels = labels.cpu()
        size = labels.bincount(minlength=classes)
        if size.max() == len(labels):
            raise UserError("method=crd: all training samples have the same label; there is nothing to contrast")
        # samples in the order of their classes: those of another class are the places before and after a class
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("size", size, persistent=False)
        self.register_buffer("first", size.cumsum(0) - size, persistent=False)
        self.student_memory = Memory(len(labels), self.dimension)
        self.source_memory = Memory(len(labels), self.dimension)

    def build_modules(self, student: Output, source: Output) -> None:
        self.student_embedding = nn.Linear(student.embedding.shape[1], self.dimension)
        self.source_embedding = nn.Linear(source.embedding.shape[1], self.dimension)

    def draw(self, labels: Tensor) -> Tensor:
        """Places of samples of other classes, drawn on the device, (B,) -> (B, negatives)."""
        size, first = self.size[labels][:, None], self.first[labels][:, None]
        numbers = torch.randint(2**62, (len(labels), self.negatives), device=labels.device)
        place = numbers % (len(self.by_class) - size)  # 2^62 is so large that no sample is favoured
        return self.by_class.take(torch.where(place >= first, place + size, place))

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student = F.normalize(self.student_embedding(batch.student.embedding))
        source = F.normalize(self.source_embedding(source_of(batch).embedding))
        places = torch.cat([batch.index[:, None], self.draw(batch.labels)], 1)
        samples, t = len(self.by_class), self.contrast_temperature
        losses = contrast(self.source_memory.scores(student, places, t), samples)
        losses = losses + contrast(self.student_memory.scores(source, places, t), samples)
        self.student_memory.remember(student, batch.index, self.momentum)
        self.source_memory.remember(source, batch.index, self.momentum)
        return {"crd": batch.weights.mean(losses)}

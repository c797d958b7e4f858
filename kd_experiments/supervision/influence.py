"""Influence of each training sample on the validation loss, through the teacher's last layer.

I(i) = -g_V^T (Hess + delta I)^-1 grad l(i) (Koh and Liang 2017; LRDS names influence-based scoring [paper], this
formula is [ours]). The gradient of cross-entropy with respect to the last layer factorises,
grad = (p - onehot(y)) (x) [h; 1], so a score is two small products and no gradient is ever stored.
Most negative = most helpful.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class SplitOutputs:
    """A network's outputs on the un-augmented samples of a split."""

    logits: Tensor  # (N, C)
    embedding: Tensor  # (N, D), the input of the last layer
    labels: Tensor  # (N,)


def residuals(outputs: SplitOutputs) -> Tensor:
    """p - onehot(y), (N, C): the gradient of cross-entropy with respect to the logits."""
    p = torch.softmax(outputs.logits, 1)
    p[torch.arange(len(p), device=p.device), outputs.labels] -= 1
    return p


def with_bias(embedding: Tensor) -> Tensor:
    """[h; 1], (N, D) -> (N, D + 1)."""
    return torch.cat([embedding, embedding.new_ones(len(embedding), 1)], 1)


def mean_gradient(outputs: SplitOutputs) -> Tensor:
    """Gradient of the mean loss with respect to the last layer's [weight, bias], (C, D + 1)."""
    return residuals(outputs).T @ with_bias(outputs.embedding) / len(outputs.labels)


def kfac_factors(outputs: SplitOutputs) -> tuple[Tensor, Tensor]:
    """Kronecker factors S (C, C), A (D + 1, D + 1) of the last layer's Hessian, Hess ~ S (x) A.

    For softmax cross-entropy the Hessian is E[(diag p - p p^T) (x) h h^T]; K-FAC (Martens and Grosse 2015) takes the
    expectation of each factor apart.
    """
    p = torch.softmax(outputs.logits, 1)
    s = torch.diag(p.mean(0)) - p.T @ p / len(p)
    h = with_bias(outputs.embedding)
    return s, h.T @ h / len(h)


def influence(train: SplitOutputs, val: SplitOutputs, hessian: Literal["identity", "kfac"], damping: float) -> Tensor:
    """Influence scores of the training samples, (N,) float64.

    `damping` is delta. For K-FAC it is in units of the mean eigenvalue of S (x) A, so that one value suits any teacher:
    the Hessian of a nearly perfect teacher is nearly zero. For the identity it only rescales the scores.
    """
    train, val = _double(train), _double(val)
    gradient = mean_gradient(val)
    if hessian == "identity":
        direction = gradient / (1 + damping)
    else:
        s_values, s_vectors, a_values, a_vectors = _eigen(train)
        eigenvalues = s_values[:, None] * a_values
        rotated = s_vectors.T @ gradient @ a_vectors / (eigenvalues + damping * eigenvalues.mean())
        direction = s_vectors @ rotated @ a_vectors.T
    return -((residuals(train) @ direction) * with_bias(train.embedding)).sum(1)


def _eigen(outputs: SplitOutputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, a = kfac_factors(outputs)
    s_values, s_vectors = torch.linalg.eigh(s)
    a_values, a_vectors = torch.linalg.eigh(a)
    return s_values.clamp_min(0), s_vectors, a_values.clamp_min(0), a_vectors


def _double(outputs: SplitOutputs) -> SplitOutputs:
    return SplitOutputs(outputs.logits.double(), outputs.embedding.double(), outputs.labels)

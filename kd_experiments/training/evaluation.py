"""What a network is worth: accuracy, calibration, and how it relates to its teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_experiments.data.dataset import Data, Split
from kd_experiments.networks import Network
from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.training import parallel
from kd_experiments.training.devices import autocast, inference_batch

CALIBRATION_BINS = 15


def outputs(network: Network, data: Data, split: Split) -> SplitOutputs:
    """Logits and embeddings of a whole split, un-augmented, in float32; the network's mode is restored.

    Several processes that train one network each do their share.
    """
    own = parallel.share(len(split))
    part = (
        split if parallel.processes() == 1 else split.at(torch.arange(own.start, own.stop, device=split.labels.device))
    )
    mode = network.training
    network.eval()
    logits, embeddings = [], []
    with torch.inference_mode(), autocast(data.device):
        for images in data.evaluation_batches(part, inference_batch(data.device)):
            output = network(images)
            logits.append(output.logits.float())
            embeddings.append(output.embedding.float())
    network.train(mode)
    all_logits, embedded = (parallel.gathered(torch.cat(rows), len(split)) for rows in (logits, embeddings))
    return SplitOutputs(all_logits, embedded, split.labels)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> Tensor:
    """Expected calibration error (Guo et al. 2017), equal-width bins of confidence, () in [0, 1]."""
    confidence, predicted = probabilities.max(1)
    correct = (predicted == labels).to(confidence.dtype)
    bin_of = (confidence * bins).long().clamp(0, bins - 1)  # NaN becomes any number
    gap = torch.zeros(bins, dtype=confidence.dtype, device=confidence.device)
    return gap.index_add_(0, bin_of, correct - confidence).abs().sum() / len(labels)


def metrics(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, float]:
    """Figures of one split; shares in percent, `nll` in nats, `ece` in percent.

    With the teacher's logits of the same samples: `agreement` (same arg max) and `inherited_errors`, the share of the
    teacher's mistakes on which the student makes the very same one (0 when the teacher makes none).
    """
    predicted = logits.argmax(1)
    top5 = logits.topk(min(5, logits.shape[1]), 1).indices
    figures = {
        "top1": (predicted == labels).float().mean() * 100,
        "top5": (top5 == labels[:, None]).any(1).float().mean() * 100,
        "nll": torch.nn.functional.cross_entropy(logits, labels),
        "ece": calibration_error(torch.softmax(logits, 1), labels) * 100,
    }
    if teacher is not None:
        predicted_by_teacher = teacher.argmax(1)
        wrong = predicted_by_teacher != labels
        figures["agreement"] = (predicted == predicted_by_teacher).float().mean() * 100
        figures["inherited_errors"] = (
            (wrong & (predicted == predicted_by_teacher)).sum() / wrong.sum().clamp_min(1) * 100
        )
    values = torch.stack([value.float() for value in figures.values()]).tolist()  # one synchronisation
    return dict(zip(figures, values, strict=True))


def noise_metrics(logits: Tensor, given: Tensor, true: Tensor) -> dict[str, float]:
    """Under label noise, in percent: fit of clean labels, fit of wrong labels, and correction.

    Correction is the share of wrongly labelled samples that are predicted as their true class.
    """
    predicted, noisy = logits.argmax(1), given != true
    clean_count, noisy_count = (~noisy).sum().clamp_min(1), noisy.sum().clamp_min(1)
    figures = {
        "clean_fit": ((predicted == given) & ~noisy).sum() / clean_count * 100,
        "wrong_fit": ((predicted == given) & noisy).sum() / noisy_count * 100,
        "correction": ((predicted == true) & noisy).sum() / noisy_count * 100,
    }
    values = torch.stack(list(figures.values())).tolist()
    return dict(zip(figures, values, strict=True))

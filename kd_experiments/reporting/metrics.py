"""Every figure of merit, declared once: its name, unit, digits, and whether more is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from kd_experiments.reporting.frame import PRIMARY


@dataclass(frozen=True)
class Metric:
    """`key` is its column in the frame; what the column holds times `scale` is in `unit`."""

    key: str
    name: str
    unit: str
    digits: int
    better: Literal["up", "down", ""]
    sentence: str
    teacher: str = ""  # the column of the same figure of the teacher
    scale: float = 1.0

    @property
    def head(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: float, sign: bool = False) -> str:
        """With a real minus sign; `+` before what is above zero where `sign`."""
        return number(value, self.digits, sign)


def number(value: float, digits: int, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return (text if float(text) else text.replace("-", "+" if sign else "")).replace("-", "−")


TOP1 = Metric(PRIMARY, "top-1", "%", 2, "up", "Test images classified rightly at the last epoch.", "teacher.test_top1")
VAL_TOP1 = Metric("metrics.val_top1_last", "val top-1", "%", 2, "up", "Likewise, of val.", "teacher.val_top1")
ACCURACY = (TOP1,
    Metric("metrics.test_top1_best_val", "top-1, best on val", "%", 2, "up", "Test top-1 at the epoch best on val."),
    Metric("metrics.test_top1_best_test", "top-1, best test epoch", "%", 2, "up",
           "Test top-1 at the best test epoch: optimistic, and only there to be compared with papers."),
    Metric("metrics.test_top5_last", "top-5", "%", 2, "up", "The label is among five guesses.", "teacher.test_top5"),
    Metric("metrics.test_nll_last", "NLL", "", 3, "down", "Mean negative log-likelihood.", "teacher.test_nll"),
    Metric("metrics.test_ece_last", "ECE", "%", 2, "down", "Expected calibration error.", "teacher.test_ece"),
    Metric("metrics.test_agreement_last", "agreement", "%", 1, "", "Test images on which student and teacher agree."),
    Metric("metrics.test_inherited_errors_last", "inherited errors", "%", 1, "down",
           "Of the teacher's mistakes on test images, those that the student repeats."),
    Metric("metrics.train_top1_last", "train top-1", "%", 2, "", "Training images fitted.", "teacher.train_top1"),
    Metric("metrics.peer_test_top1_last", "peer, top-1", "%", 2, "up", "Test top-1 of the second network."),
    Metric("metrics.clean_fit_last", "clean labels fitted", "%", 1, "up", "Right training labels predicted."),
    Metric("metrics.wrong_fit_last", "wrong labels fitted", "%", 1, "down", "Wrong training labels predicted."),
    Metric("metrics.correction_last", "wrong labels corrected", "%", 1, "up", "Wrongly labelled, rightly predicted."),
    Metric("selection.share", "selected", "%", 0, "", "Training images the teacher teaches.", scale=100.0),
)  # fmt: skip
COST = (
    Metric("timing.train_seconds", "training", "s", 1, "down", "Time of training, without evaluation."),
    Metric("timing.images_per_second", "images/s", "", 0, "up", "Training images a second."),
    Metric("timing.peak_memory_bytes", "peak memory", "MiB", 0, "down", "Of the whole process.", scale=2.0**-20),
    Metric("timing.peak_device_memory_bytes", "peak device memory", "MiB", 0, "down", "On the device.", scale=2.0**-20),
)

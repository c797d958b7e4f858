"""What the teacher says of a sample it gets wrong, and what each revision makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from kd_experiments.distillers import DISTILLERS
from kd_experiments.places import home
from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Cannot, Run, Setting, again
from kd_experiments.reporting.figures.style import picture
from kd_experiments.reporting.figures.teacher import label_text, predictions, teacher_of, wrong_samples
from kd_experiments.schema import build_choice
from kd_experiments.supervision.revision import REVISIONS, Revision
from kd_experiments.supervision.temperature import ConstantTemperature, DynamicTemperature

SHOWN = {
    "label_revision": "label revision",
    "probability_shift": "probability shift",
    "smoothed_label": "smoothed label",
    "two_class_average": "two-class average",
}
GREEK = {"eta": "η", "epsilon": "ε"}
MOST_BARS = 12
LABEL: dict[str, Any] = {"facecolor": "white", "hatch": "/////"}
PREDICTION: dict[str, Any] = {"facecolor": "0.35"}
OTHER: dict[str, Any] = {"facecolor": "0.8"}


def draw(setting: Setting) -> Figure:
    """The image, and the soft target before and after each revision, over the classes."""
    run = setting.runs[0]
    if run.record["teacher"]["train_wrong"] == 0:
        raise Cannot(
            f"the teacher is right on every training image ({setting.title}); a shorter training errs",
            again(run, "teacher.recipe.epochs=5"),
        )
    teacher = teacher_of(run)
    data = teacher.data
    wrong = wrong_samples(teacher)
    said = predictions(teacher.network, data, wrong)
    place = median_confidence(said.logits)
    sample, logits, label = int(wrong[place]), said.logits[place : place + 1], said.labels[place : place + 1]
    temperature, methods = distillation_temperature(setting.runs)
    targets = soft_targets(logits, label, temperature, setting.runs)
    predicted = int(logits.argmax(1))

    figure = Figure(figsize=(11, 1.9 + 0.17 * max(10, min(data.classes, MOST_BARS))), layout="constrained")
    image, *panels = figure.subplots(1, 1 + len(targets), width_ratios=[1.15] + [1.0] * len(targets))
    picture(image, data.train.images[sample])
    image.set_title(f"label: {label_text(data, sample)}\nteacher: {data.class_names[predicted]}", loc="left")
    bar_charts(panels, targets, data.class_names, int(label), predicted)
    looks = (("label", LABEL), ("teacher's prediction", PREDICTION), ("other classes", OTHER))
    handles = [Patch(edgecolor="black", label=caption, **look) for caption, look in looks]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"Soft target at T = {temperature:g}, before and after revision ({methods} at this T)\n{setting.title}\n"
        f"one of the {len(wrong):,} training images this teacher gets wrong, that of median confidence (n = 1)"
    )
    return figure


def median_confidence(logits: Tensor) -> int:
    """The row of (N, C) logits with the median top probability: a typical mistake, neither the best nor the worst."""
    confidence = torch.softmax(logits, 1).amax(1)
    return int(torch.argsort(confidence, stable=True)[(len(confidence) - 1) // 2])


def distillation_temperature(runs: Sequence[Run]) -> tuple[float, str]:
    """The temperature that most of the runs distil at (the lowest of equals), and the methods that do."""
    found: list[tuple[float, str]] = []
    for run in [run for run in runs if DISTILLERS[run.config.method.distiller].uses_temperature] or runs:
        temperature = run.config.distillation_temperature
        if isinstance(temperature, ConstantTemperature):
            found.append((temperature.value, run.method))
    if not found:  # only dynamic temperatures: they vary around tau0
        dynamic = ((run.method, run.config.temperature) for run in runs)
        found = [(part.tau0, method) for method, part in dynamic if isinstance(part, DynamicTemperature)]
    found = found or [(run.config.method.temperature, run.method) for run in runs]
    counts = Counter(value for value, _ in found)
    best = min(counts, key=lambda value: (-counts[value], value))
    methods = sorted({method for value, method in found if value == best})
    return best, ", ".join(methods[:4]) + (", ..." if len(methods) > 4 else "")


def soft_targets(logits: Tensor, label: Tensor, temperature: float, runs: Sequence[Run]) -> dict[str, Tensor]:
    """What a distiller at this temperature compares with, (C,) each, by caption: raw, and after each revision."""
    targets = {"the teacher, unrevised": torch.softmax(logits / temperature, 1)[0]}
    for caption, revision in revisions(runs).items():
        targets[caption] = torch.softmax(revision(logits, label, temperature) / temperature, 1)[0]
    return targets


def revisions(runs: Sequence[Run]) -> dict[str, Revision]:
    """The revisions shown, by their caption; with the runs' hyper-parameters, otherwise the defaults."""
    given = {run.config.given["revision"]["name"]: run.config.given["revision"] for run in reversed(runs)}
    chosen = {}
    for name, caption in SHOWN.items():
        default = home() / "conf" / "revision" / f"{name}.yaml"
        options = given[name] if name in given else {"name": name} | yaml.safe_load(default.read_text())
        values = ", ".join(f"{GREEK[key]} = {value:g}" for key, value in options.items() if key in GREEK)
        chosen[f"{caption} ({values})" if values else caption] = build_choice(REVISIONS, options, "revision")
    return chosen


def shown_classes(targets: dict[str, Tensor], label: int, predicted: int) -> list[int]:
    """All classes if they fit, else the likeliest in any target; always the label and the prediction."""
    highest = torch.stack(list(targets.values())).amax(0)
    highest[[label, predicted]] = 2.0
    return sorted(torch.argsort(highest, descending=True, stable=True)[:MOST_BARS].tolist())


def bar_charts(
    panels: Sequence[Axes], targets: dict[str, Tensor], names: Sequence[str], label: int, predicted: int
) -> None:
    """One panel a target, on common axes; the values of label and prediction are written out."""
    classes = shown_classes(targets, label, predicted)
    looks = {label: LABEL, predicted: PREDICTION}
    highest = max(float(target.max()) for target in targets.values())
    for axes, (caption, target) in zip(panels, targets.items(), strict=True):
        for place, index in enumerate(classes):
            value = float(target[index])
            axes.barh(place, value, edgecolor="black", linewidth=0.6, **looks.get(index, OTHER))
            if index in looks:
                axes.text(value, place, f" {value:.3f}", va="center", fontsize=8)
        axes.set(title=caption, xlabel="probability", xlim=(0, 1.35 * highest))
        axes.grid(axis="y", visible=False)
        axes.sharey(panels[0])
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_yticks(range(len(classes)), [names[index] for index in classes])
    panels[0].invert_yaxis()
    if len(classes) < len(names):
        panels[0].set_ylabel(f"the likeliest {len(classes)} of {len(names)} classes")


KIND = Kind(
    name="revision",
    needs="a teacher that errs on the training images",
    overrides="method=la_ps teacher.recipe.epochs=5",
    uses=lambda run: run.config.source == "teacher",
    draw=draw,
    evaluates=True,
)

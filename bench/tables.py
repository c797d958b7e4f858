"""Markdown tables of measured figures: `python -m bench.tables FILE.jsonl > bench/RESULTS.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def write(lines: list[Line]) -> str:
    """Where it was measured, the figures with their targets, and the costs of the methods."""
    if not lines:
        return "nothing measured"
    costs = [line for line in lines if line["figure"] == "method_cost"]
    others = [line for line in lines if line["figure"] != "method_cost"]
    parts = [machine(lines)]
    if others:
        head = ["figure", "what", "setting", "target", "median (min to max), n", "target met"]
        parts += ["## Figures", table(head, [figure_row(line) for line in others]), *notes(others)]
    if costs:
        parts += ["## What a method costs", method_costs(costs)]
    return "\n\n".join(parts) + "\n"


def machine(lines: list[Line]) -> str:
    """Hardware, versions and dates, in words."""
    first, last = lines[0], lines[-1]
    where = first["machine"]
    packages = ", ".join(f"{name} {where['packages'][name]}" for name in ("torch", "torchvision", "numpy"))
    load = ", ".join(f"{value:.1f}" for value in sorted({min(each(lines)), max(each(lines))}))
    hardware = f"{where['device_name']} ({where['device']}; kernels for {where['capability']})"
    versions = f"{where['platform']}, Python {where['python']}, {packages}"
    how = f"python -m bench{' --quick' if first['quick'] else ''}"
    return (
        f"Measured {first['date']} to {last['date']} at commit {where['commit']} with `{how}` on {hardware}, "
        f"{first['cores']} CPU cores, {where['threads']} threads; {versions}. Load of the machine (1 minute) along the "
        f"way: {load}."
    )


def each(lines: list[Line]) -> list[float]:
    return [line["load_before"] for line in lines]


def figure_row(line: Line) -> list[str]:
    unit = {"x": "x", "s": " s", "%": " %"}[line["unit"]]
    sign = "≥" if line["better"] == "higher" else "≤"
    met = {True: "yes", False: "**no**", None: "-"}[line["met"]]
    measured = "not run" if line["median"] is None else spread(line, unit)
    target = "-" if line["target"] is None else f"{sign} {line['target']:g}{unit}"
    return [line["figure"], line["about"], line["setting"], target, measured, met]


def spread(line: Line, unit: str) -> str:
    if line["repetitions"] == 1:
        return f"{line['median']:.3g}{unit}, 1"
    fastest = f"; of the fastest {line['fastest']:.3g}{unit}" if line["fastest"] is not None else ""
    return f"{line['median']:.3g}{unit} ({line['min']:.3g} to {line['max']:.3g}), {line['repetitions']}{fastest}"


def notes(lines: list[Line]) -> list[str]:
    """What has to be known about a figure, once each."""
    said = dict.fromkeys(f"- {line['figure']}: {line['note']}." for line in lines if line["note"])
    return ["\n".join(said)] if said else []


def method_costs(lines: list[Line]) -> str:
    """Time and memory of each method's step beside KD's, cheapest first."""
    rows = []
    for line in sorted(lines, key=lambda line: line["median"]):
        parts = line["parts"]
        own, kd = parts["memory_MB"][0], parts["kd_memory_MB"][0]
        step = sorted(parts["step_ms"])[len(parts["step_ms"]) // 2]
        rows.append(
            [line["about"], f"{step:.0f}", spread(line, "x"), _target(line), f"{own:.1f}", f"{own - kd:+.1f}"],
        )
    head = ["method", "ms a step", "time over KD", "target", "memory, MB", "beyond KD, MB"]
    about = (
        f"{lines[0]['setting']}; each method's steps alternate with KD's. KD, the other logit methods and those of "
        "embeddings read the teacher's table (filled); feature methods ask the teacher in every step. Memory: "
        "parameters, statistics and optimiser states, the live teacher's included, plus what one step allocates at its "
        "peak; not the images."
    )
    return about + "\n\n" + table(head, rows)


def _target(line: Line) -> str:
    return "-" if line["target"] is None else f"≤ {line['target']:g}x{'' if line['met'] else ', **missed**'}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(write([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]), end="")

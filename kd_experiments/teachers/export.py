"""Trained networks as files for use elsewhere, each tried before it is written."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_experiments import files
from kd_experiments.cli.arguments import parse
from kd_experiments.errors import UserError, did_you_mean, no_such_choice
from kd_experiments.networks.deployed import Deployed
from kd_experiments.tracking.record import read_record, read_teacher_record

USAGE = """\
usage: python -m kd_experiments.teachers export SIGNATURE_OR_FOLDER out=DIR_OR_FILE [format=FORMAT] [paths.results=DIR]
       python -m kd_experiments.students export ...

Writes the trained network of a run (its student) or of a teacher, and beside it FILE.json with mean, std, input size,
class names and test accuracy. FORMAT is

  state_dict    {"model": state dict, "epoch": E, "accuracy": A, "best_acc": A}, as the public benchmarks have it;
                teacher=NETWORK teacher.checkpoint=FILE makes it a teacher (FILE.pth, the default)
  torch_export  a program of torch.export: torch.export.load(FILE).module() takes images (FILE.pt2)
  onnx          for onnxruntime and others (FILE.onnx; pip install 'kd_experiments[onnx]')

The last two take float32 images in [0, 1], any number of them, and normalise them themselves. Every file is loaded
again and asked about random images; one that does not predict what the network does is not written (exit code 1).
"""

SUFFIXES = {"state_dict": ".pth", "torch_export": ".pt2", "onnx": ".onnx"}
TOLERANCE = 1e-3  # of the largest logit: other kernels round differently
_BATCHES = (1, 5)  # images it is asked about at a time


@dataclass(frozen=True)
class Trained:
    """A finished training in its folder; `kept` is what its file holds."""

    signature: str
    accuracy: float  # top-1 on test, in percent
    kept: dict[str, Any]


def command(arguments: Sequence[str]) -> int:
    """Do what the arguments after `export` say; the exit code."""
    named = [argument for argument in arguments if "=" not in argument]
    given = [argument for argument in arguments if "=" in argument]
    values = parse(given, {"out": "", "format": "", "paths.results": "results"})
    if len(named) != 1:
        raise UserError(f"export: give one signature or folder, not {len(named)} (--help shows how)")
    if not values["out"]:
        raise UserError("export: give out=DIR, the folder to write to, or out=FILE")
    trained = read_trained(find_folder(named[0], Path(values["paths.results"])))
    lines, same = export(trained, Path(values["out"]), values["format"])
    print("\n".join(lines), file=None if same else sys.stderr)
    return 0 if same else 1


def export(trained: Trained, out: Path, form: str = "") -> tuple[list[str], bool]:
    """Write the file, and what is to be known of it beside; the lines to show, and whether it predicts the same."""
    path, form = _place(out, form, trained.kept["network"])
    network = Deployed(trained.kept)
    content, ask = _MAKERS[form](trained, network)
    difference = _difference(network, ask)
    if not difference <= TOLERANCE:
        return [f"error: {path}: not written, as it does not predict what the network does: logits differ by "
                f"{difference:.2g} of the largest; try another format"], False  # fmt: skip
    try:
        files.write_bytes(path, content)
        files.write_text(path.with_name(f"{path.name}.json"), json.dumps(_about(trained, network, form), indent=2))
    except UserError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise UserError(f"out={path}: cannot be written ({reason})") from error
    name, epoch = trained.kept["network"], trained.kept["epoch"]
    lines = [
        f"written: {path} ({name}, epoch {epoch}, test {trained.accuracy:.2f} %), and {path.name}.json",
        f"checked: loaded again, it predicts the same (logits differ by at most {difference:.1g} of the largest)",
    ]
    return lines + [f"use it:  teacher={name} teacher.checkpoint={path}"] * (form == "state_dict"), True


def _place(out: Path, form: str, network: str) -> tuple[Path, str]:
    """The file to write, and its format: that of its name where none is asked for."""
    if form and form not in SUFFIXES:
        raise no_such_choice("format", form, SUFFIXES)
    by_name = {suffix: name for name, suffix in SUFFIXES.items()} | {".pt": "state_dict"}
    named = None if out.is_dir() else by_name.get(out.suffix)
    form = form or named or "state_dict"
    if named is None:
        return out / f"{files.file_name(network)}{SUFFIXES[form]}", form
    if named != form:
        raise UserError(
            f"out={out}: is a file of format={named} by its name; give out=FILE{SUFFIXES[form]}, or a folder"
        )
    return out, form


def _about(trained: Trained, network: Deployed, form: str) -> dict[str, Any]:
    """What somebody who has only the file needs to know."""
    expected = "normalised by mean and std" if form == "state_dict" else "in [0, 1]: it normalises them itself"
    return {
        "network": trained.kept["network"],
        "format": form,
        "input": f"float32 images (B, C, H, W), {expected}",
        "output": "logits (B, classes)",
        "input_size": [network.channels, network.size, network.size],
        "mean": trained.kept["images"]["mean"],
        "std": trained.kept["images"]["std"],
        "class_names": list(network.class_names),
        "test_top1": trained.accuracy,
        "epoch": trained.kept["epoch"],
        "signature": trained.signature,
    }


def _difference(network: Deployed, ask: Callable[[Tensor], Tensor]) -> float:
    """The largest difference of a logit on random images, as a share of the largest logit; NaN where one is."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for count in _BATCHES:
        images = torch.rand(count, network.channels, network.size, network.size, generator=generator)
        expected = network(images)
        found.append((ask(images) - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    return float(torch.stack(found).max())


Made = tuple[bytes | memoryview, Callable[[Tensor], Tensor]]  # a file's content, and what it says about images


def _state_dict(trained: Trained, network: Deployed) -> Made:
    content = files.serialised(
        {
            "model": {key: tensor.detach().cpu().contiguous() for key, tensor in trained.kept["model"].items()},
            "epoch": trained.kept["epoch"],
            "accuracy": trained.accuracy,
            "best_acc": trained.accuracy,
        }
    )
    state = torch.load(io.BytesIO(content), weights_only=True)["model"]
    return content, Deployed({**trained.kept, "model": state})


def _torch_export(trained: Trained, network: Deployed) -> Made:
    buffer = io.BytesIO()
    torch.export.save(_program(trained, network), buffer)
    ask: Any = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), ask


def _onnx(trained: Trained, network: Deployed) -> Made:
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(needed) is None:
            raise UserError(f"format=onnx: {needed} is not installed; type: pip install 'kd_experiments[onnx]'")
    import onnxruntime

    program = _program(trained, network)
    try:
        made = torch.onnx.export(program, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False)
        assert made is not None
        content = made.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # an operator that ONNX lacks, among others
        raise _refused(trained, "to ONNX", error, "state_dict or torch_export") from error
    return content, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


_MAKERS: dict[str, Callable[[Trained, Deployed], Made]] = {
    "state_dict": _state_dict,
    "torch_export": _torch_export,
    "onnx": _onnx,
}


def _program(trained: Trained, network: Deployed) -> torch.export.ExportedProgram:
    """The network as a graph for any number of images."""
    images = torch.rand(2, network.channels, network.size, network.size)
    try:
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # somebody else's network may do anything
        raise _refused(trained, "as a graph", error, "state_dict") from error


def _refused(trained: Trained, how: str, error: Exception, instead: str) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"{trained.kept['network']}: cannot be exported {how} ({reason}); give format={instead}")


def find_folder(what: str, results: Path) -> Path:
    """The folder of a run or of a teacher."""
    parents = (results / "runs", results / "teachers")
    for folder in (Path(what), *(parent / what for parent in parents)):
        if folder.is_dir():
            return folder
    known = [folder.name for parent in parents if parent.is_dir() for folder in parent.iterdir() if folder.is_dir()]
    there = did_you_mean(what, known) or "; give paths.results=DIR if they are elsewhere"
    raise UserError(f"{what}: no such folder, and no run or teacher of this signature in {results}{there}")


def read_trained(folder: Path) -> Trained:
    """The network a folder holds; `UserError` where no training has been finished in it."""
    is_run = (folder / "student.pt").exists()
    accuracy = _accuracy(folder / "record.json", is_run)
    kept = files.load_own(folder / ("student.pt" if is_run else "teacher.pt"))
    if kept is None or accuracy is None:
        raise UserError(f"{folder}: no finished training here; give the folder of a complete run or teacher")
    return Trained(folder.resolve().name, accuracy, kept)


def _accuracy(path: Path, is_run: bool) -> float | None:
    """Test top-1 of a finished training, in percent; None where there is none."""
    if is_run:
        run = read_record(path)
        return run.metrics["test_top1_last"] if run is not None and run.status == "complete" else None
    teacher = read_teacher_record(path)
    return None if teacher is None else teacher.facts.test_top1

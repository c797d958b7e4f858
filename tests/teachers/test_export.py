"""Public checkpoints: ours written in their format, and what theirs say about themselves."""

from __future__ import annotations

import io
import json
import urllib.error
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from kd_experiments import experiment as kd
from kd_experiments import files
from kd_experiments.errors import UserError
from kd_experiments.networks import build
from kd_experiments.networks.deployed import Deployed
from kd_experiments.students.__main__ import main as students
from kd_experiments.teachers import export as export_module
from kd_experiments.teachers.__main__ import main
from kd_experiments.teachers.checkpoint_file import fingerprint, given_state, load_into, read_state, stated_accuracy
from kd_experiments.teachers.export import Trained
from tests.conftest import TINY, Answer, Cli, records
from tests.reporting.synthetic import record


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Call the command in this process, with the results of `cli`."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main([*arguments, f"paths.results={tmp_path}"])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


def test_a_teacher_there_and_back(cli: Cli, export: Any, tmp_path: Path) -> None:
    """Exported by signature and given back, our own teacher teaches exactly as before."""
    assert cli("method=kd").code == 0
    (ours,) = records(tmp_path)
    out = tmp_path / "deep" / "resnet8.pth"
    answer = export("export", ours["teacher"]["signature"], f"out={out}")
    assert answer.code == 0 and f"teacher=resnet8 teacher.checkpoint={out}" in answer.out
    content = torch.load(out, weights_only=True)
    assert content.keys() == {"model", "epoch", "accuracy", "best_acc"}
    assert content["epoch"] == 2 and content["accuracy"] == content["best_acc"] == ours["teacher"]["test_top1"]
    assert all(type(value) is torch.Tensor and value.is_contiguous() for value in content["model"].values())
    build("resnet8", classes=10, channels=1, size=8).load_state_dict(content["model"], strict=True)

    again = cli("method=kd", f"teacher.checkpoint={out}")
    assert again.code == 0, again.err
    assert f"states {content['accuracy']:.2f} % test accuracy, {content['accuracy']:.2f} % measured here" in again.out
    assert "warning" not in again.out
    given = next(record for record in records(tmp_path) if record["signature"] != ours["signature"])
    assert given["metrics"] == ours["metrics"]
    assert given["teacher"]["stated_accuracy"] == content["accuracy"] and ours["teacher"]["stated_accuracy"] is None


def test_a_student_becomes_a_teacher(cli: Cli, export: Any, tmp_path: Path) -> None:
    assert cli("method=none", "student=resnet14").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    out = tmp_path / "resnet14.pth"
    assert export("export", str(run), f"out={out}").code == 0
    kept = torch.load(run / "student.pt", weights_only=True)["model"]
    state = read_state(out)
    assert kept.keys() == state.keys() and all(torch.equal(kept[key], state[key]) for key in kept)
    accuracy = records(tmp_path)[0]["metrics"]["test_top1_last"]
    assert stated_accuracy(str(out), "resnet14") == accuracy
    assert cli("method=kd", "teacher=resnet14", f"teacher.checkpoint={out}").code == 0


def test_relative_paths_are_those_of_the_current_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("method=none").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    monkeypatch.chdir(tmp_path)
    assert main(["export", run.name, "out=here.pth", "paths.results=."]) == 0
    assert capsys.readouterr().out.startswith("written: here.pth (resnet8, epoch 2, test ")
    assert (tmp_path / "here.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no command: give the command export, fill or download"),
        (["exprot", "x"], "exprot: give the command export, fill or download; did you mean export?"),
        (["export", "out=x.pth"], "give one signature or folder, not 0"),
        (["export", "a", "b", "out=x.pth"], "give one signature or folder, not 2"),
        (["export", "a"], "give out=DIR, the folder to write to, or out=FILE"),
        (["export", "a", "otu=x.pth"], "otu: no such key; did you mean out?"),
        (["export", "0123456789abcdef", "out=x.pth"], "no such folder, and no run or teacher of this signature"),
        (["export", "1123456789abcdef", "out=x.pth"], "did you mean 1123456789abcde0?"),
        (["export", "1123456789abcde0", "out=x.pth"], "no finished training here"),
        (["export", "whole", "out=/proc/x.pth"], "out=/proc/x.pth: cannot be written"),
        (
            ["export", "whole", "out=x.onnx", "format=state_dict"],
            "out=x.onnx: is a file of format=onnx by its name; give out=FILE.pth",
        ),
        (["export", "whole", "out=.", "format=onx"], "format=onx: no such choice; did you mean onnx?"),
    ],
)
def test_bad_arguments_are_one_clear_line(export: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "runs" / "1123456789abcde0").mkdir(parents=True)
    whole = tmp_path / "teachers" / "whole"
    whole.mkdir(parents=True)
    state = build("resnet8", classes=10).state_dict()
    images = {"channels": 3, "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "class_names": list("abcdefghij")}
    files.save(whole / "teacher.pt", {"model": state, "epoch": 1, "network": "resnet8", "images": images})
    made = record("kd")
    kept = {key: made[key] for key in ("schema", "identity", "machine")}
    files.write_json(whole / "record.json", kept | {"facts": made["teacher"]})
    answer = export(*arguments)
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1 and words in answer.err


def test_help_says_how(export: Any) -> None:
    answer = export("--help")
    assert answer.code == 0 and "export SIGNATURE_OR_FOLDER out=DIR_OR_FILE" in answer.out


# Files for use elsewhere


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run, of a network of the suite."""
    results = tmp_path_factory.mktemp("exported")
    made = kd.run([*TINY, "method=none", f"paths.results={results}"])
    return results / "runs" / made.signature


def asked(path: Path, images: torch.Tensor) -> torch.Tensor:
    """What an exported file says, as somebody without this package would ask it."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)  # type: ignore[no-any-return]
    import onnxruntime

    return torch.from_numpy(onnxruntime.InferenceSession(path.read_bytes()).run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize(("form", "suffix"), [("torch_export", ".pt2"), ("onnx", ".onnx")])
def test_an_exported_program_predicts_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, suffix: str
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    assert students(["export", str(run), f"out={tmp_path}", f"format={form}"]) == 0
    said = capsys.readouterr().out
    path = tmp_path / f"resnet8{suffix}"
    assert f"written: {path} (resnet8, epoch 2, test " in said and "it predicts the same" in said
    images = torch.rand(7, 1, 8, 8)
    student = kd.load_student(run.name, run.parent.parent)
    torch.testing.assert_close(asked(path, images), student(images), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(asked(path, images[:1]), student(images[:1]), rtol=1e-3, atol=1e-4)
    about = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert (
        about["input_size"] == [1, 8, 8]
        and about["class_names"] == list("0123456789")
        and about["signature"] == run.name
    )
    assert (
        about["mean"] == student.mean.tolist()
        and about["std"] == student.std.tolist()
        and "in [0, 1]" in about["input"]
    )
    assert {one.name for one in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}


def test_a_state_dict_says_that_images_must_be_normalised(run: Path, tmp_path: Path) -> None:
    assert students(["export", str(run), f"out={tmp_path}"]) == 0
    about = json.loads((tmp_path / "resnet8.pth.json").read_text())
    assert "normalised by mean and std" in about["input"] and len(about["mean"]) == 1


def test_a_file_that_predicts_otherwise_is_not_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(trained: Trained, network: Deployed) -> Any:
        return b"", lambda images: network(images).flip(1)

    monkeypatch.setitem(export_module._MAKERS, "torch_export", other)
    assert students(["export", str(run), f"out={tmp_path}", "format=torch_export"]) == 1
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.count("\n") == 1 and "not written, as it does not predict what" in answer.err
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert students(["export", str(run), f"out={tmp_path}", "format=onnx"]) == 2
    assert capsys.readouterr().err == (
        "error: format=onnx: onnx is not installed; type: pip install 'kd_experiments[onnx]'\n"
    )


def test_what_onnx_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")

    def lacking(*arguments: object, **options: object) -> None:
        raise RuntimeError("No ONNX function found for <OpOverload>\n and a long story")

    monkeypatch.setattr(export_module, "_program", lambda *arguments: None)
    monkeypatch.setattr("torch.onnx.export", lacking)
    words = r"mine\.net: cannot be exported to ONNX \(No ONNX function found for <OpOverload>\); give format=state_dict"
    with pytest.raises(UserError, match=words):
        export_module._onnx(Trained("0" * 16, 1.0, {"network": "mine.net"}), mock.Mock())


# What a given file says of itself


def given(path: Path, **says: Any) -> str:
    torch.manual_seed(0)
    torch.save({"model": build("resnet8", classes=10, channels=1, size=8).state_dict(), "epoch": 240, **says}, path)
    return str(path)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({"best_acc": 72.34}, 72.34),
        ({"accuracy": 71.0, "best_acc": 72.34}, 71.0),
        ({"best_acc": torch.tensor(72.5)}, 72.5),
        ({"best_acc": torch.tensor([72.5])}, 72.5),
        ({"best_acc": np.float64(72.5)}, 72.5),
        ({"best_acc": np.float32(72.5)}, 72.5),
        ({"best_acc": 0.725}, 72.5),
        ({"best_acc": -1}, None),
        ({"best_acc": "high"}, None),
        ({}, None),
    ],
)
def test_stated_accuracies_are_read(tmp_path: Path, says: dict[str, Any], expected: float | None) -> None:
    path = given(tmp_path / "given.pth", **says)
    assert stated_accuracy(path, "resnet8") == pytest.approx(expected)
    assert len(read_state(Path(path))) == len(build("resnet8", classes=10).state_dict())


def test_numpy_scalars_of_older_versions_are_read(tmp_path: Path) -> None:
    content = io.BytesIO((path := Path(given(tmp_path / "given.pth", best_acc=np.float64(72.5)))).read_bytes())
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert stated_accuracy(str(path), "resnet8") == 72.5


def test_a_teacher_that_does_not_do_what_it_says_is_a_warning(cli: Cli, tmp_path: Path) -> None:
    path = given(tmp_path / "given.pth", best_acc=99.0)
    for _ in range(2):  # also when the teacher is known already
        answer = cli("method=kd", f"teacher.checkpoint={path}", "rerun=true")
        assert answer.code == 0
        (line,) = [line for line in answer.out.splitlines() if "99.00 %" in line]
        assert line.startswith("warning: ") and "is measured here; was it trained on this data set" in line
    (record,) = records(tmp_path)
    assert record["teacher"]["stated_accuracy"] == 99.0 and record["teacher"]["test_top1"] < 98


def test_a_file_that_says_nothing_is_not_compared(cli: Cli, tmp_path: Path) -> None:
    answer = cli("method=kd", f"teacher.checkpoint={given(tmp_path / 'given.pth')}")
    assert answer.code == 0 and "test accuracy," not in answer.out
    assert records(tmp_path)[0]["teacher"]["stated_accuracy"] is None


def test_files_from_before_batches_were_counted_load(tmp_path: Path) -> None:
    network = build("resnet8", classes=10)
    state = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    load_into(build("resnet8", classes=10), state, "resnet8", tmp_path)


# torchvision's weights


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise urllib.error.URLError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["teacher=resnet8"], "torchvision has no weights for resnet8; give teacher=tv_resnet34 or"),
        (["teacher=tv_resnet18", "checkpoint=IMAGENET1K_V7"], "did you mean torchvision:IMAGENET1K_V1?"),
        (["teacher=tv_resnet18"], "cannot be had (<urlopen error [Errno -3] Temporary failure in name resolution>)"),
    ],
)
def test_torchvision_mistakes_are_one_clear_line(
    cli: Cli, no_network: None, tmp_path: Path, arguments: list[str], words: str
) -> None:
    teacher, *other = arguments
    name = other[0].partition("=")[2] if other else "IMAGENET1K_V1"
    answer = cli("method=kd", teacher, f"teacher.checkpoint=torchvision:{name}")
    assert answer.code == 2 and answer.err.count("\n") == 1 and words in answer.err
    if not other and teacher == "teacher=tv_resnet18":
        assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in answer.err


def test_torchvision_weights_come_from_where_they_are(no_network: None, tmp_path: Path) -> None:
    """From another program's downloads, or else from ours; legacy files without batch counts load as well."""
    torch.manual_seed(1)
    network = build("tv_resnet18", classes=1000, size=224)
    state = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    for folder in (tmp_path / "ours", tmp_path / "torch_home" / "hub" / "checkpoints"):
        folder.mkdir(parents=True)
        file = folder / "resnet18-f37072fd.pth"
        torch.save(state, file)
        loaded = given_state("torchvision:IMAGENET1K_V1", "tv_resnet18", tmp_path / "ours")
        load_into(
            build("tv_resnet18", classes=1000, size=224), loaded, "tv_resnet18", Path("torchvision:IMAGENET1K_V1")
        )
        assert all(torch.equal(state[key], loaded[key]) for key in state)
        file.unlink()


def test_torchvision_states_its_accuracy_and_goes_by_name() -> None:
    assert stated_accuracy("torchvision:IMAGENET1K_V1", "tv_resnet34") == pytest.approx(73.314)
    assert stated_accuracy("torchvision:IMAGENET1K_V2", "tv_resnet50") == pytest.approx(80.858)
    assert fingerprint(Path("torchvision:IMAGENET1K_V1")) == "torchvision:IMAGENET1K_V1"

"""`python -m kd_experiments.data prepare`: what it says, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_experiments.data.__main__ import main
from kd_experiments.data.fashion_mnist import DEBIAN_FOLDER
from kd_experiments.data.prepare import names
from kd_experiments.data.settings import DATASETS
from tests.data.make_datasets import write_cifar, write_cinic10, write_image_folder, write_tiny_imagenet


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default results folder is one of the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("cifar10", write_cifar),
        ("cinic10", write_cinic10),
        ("tiny_imagenet", write_tiny_imagenet),
        ("image_folder", write_image_folder),
    ],
)
def test_it_builds_the_cache_and_says_where(
    name: str, write: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "data")  # type: ignore[operator]
    assert main(["prepare", name, f"root={root}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: ") and f"data:  {root}\n" in said and ", built in " in said
    assert "/data/decoded/" in said and f"/{name}" in said
    assert f"dataset={name} dataset.root={root}" in said
    assert main(["prepare", name, f"dataset.root={root}"]) == 0
    assert "was there, verified" in capsys.readouterr().out


def test_digits_are_inside_scikit_learn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "digits"]) == 0
    assert "1347 training and 450 test images of 8x8x1, 10 classes" in capsys.readouterr().out


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_used_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "fashion_mnist"]) == 0
    said = capsys.readouterr().out
    assert "60000 training and 10000 test images of 28x28x1" in said and f"data:  {DEBIAN_FOLDER}" in said


@pytest.mark.parametrize("name", sorted(set(names()) - {"digits", "fashion_mnist"}))
def test_missing_data_are_one_line_and_exit_code_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", name]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    assert said.err.startswith(f"error: dataset={name}: not found (looked in results/data, ")
    assert "dataset.root=FOLDER" in said.err


def test_settings_are_those_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_image_folder(tmp_path / "own")
    (root / "train" / "ant" / "a.jpg").write_bytes(b"")
    assert main(["prepare", "image_folder", f"root={root}"]) == 2
    assert "a.jpg (it has 0 bytes)" in capsys.readouterr().err
    settings = [f"root={root}", "image_size=16", "skip_corrupt=true", f"paths.results={tmp_path / 'results'}"]
    assert main(["prepare", "image_folder", *settings]) == 0
    said = capsys.readouterr()
    assert "of 16x16x3" in said.out and "warning: " in said.err
    assert " dataset.image_size=16 dataset.skip_corrupt=true paths.results=" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: "),
        (["prepare"], "usage: "),
        (["prepar", "digits"], "prepar: no such command; did you mean prepare?"),
        (["prepare", "cifar11"], "data set=cifar11: no such choice; did you mean cifar10?"),
        (["prepare", "cifar10", "rot=x"], "rot: no such key for cifar10; did you mean root?"),
        (["prepare", "cifar10", "image_size=4"], "image_size: no such key for cifar10"),
        (["prepare", "cifar10", "root"], "root: expected KEY=VALUE"),
        (["prepare", "cifar10", "download=perhaps"], "dataset.download=perhaps: expected true or false"),
        (["prepare", "cinic10", "image_size=0"], "dataset.image_size=0: must be at least 1"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_it_says_what_it_did_not_find_and_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "cinic10"]) == 2
    assert capsys.readouterr().err.startswith("error: dataset=cinic10: not found")
    assert main(["--help"]) == 0
    assert "prepare NAME" in capsys.readouterr().out


def test_every_data_set_has_its_keys() -> None:
    assert set(names()) <= set(DATASETS)

"""Folders with any name: the value that arrives is the path that was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments import own_code
from kd_experiments.cli.composing import composed
from kd_experiments.cli.paths import readable
from kd_experiments.errors import UserError
from kd_experiments.sweeping.__main__ import _words
from kd_experiments.teachers.__main__ import main as teachers
from tests.conftest import Cli

NAMES = [
    "my photos",
    "a=b",
    "a,b",
    "[new]",
    "{x}",
    "(1)",
    "Fotos Übung",
    "写真",
    "it's",
    'say "x"',
    "50%",
    "a:b",
    "-",
    "null",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_folder_may_be_typed(name: str) -> None:
    for path in (f"/data/{name}", f"photos/{name}/2024"):
        assert composed(readable([f"dataset.root={path}"]))["dataset"]["root"] == path


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda text: f"/{text}"))
def test_whatever_it_is_called(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides(readable([f"dataset.root={path}"]))
    assert str(override.value()).replace("\\${", "${") == path


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("paths.results=~/kd", "paths.results='/home/müller/kd'"),
        ("student.checkpoint=~/a.pth", "student.checkpoint='/home/müller/a.pth'"),
        ("peer.checkpoint=/data/ü.pth", "peer.checkpoint='/data/ü.pth'"),
        ("teacher.checkpoint='~/a b.pth'", "teacher.checkpoint='/home/müller/a b.pth'"),
        ("imports=[~/my_kd,other]", "imports=['/home/müller/my_kd',other]"),
        ("imports=/home/jürgen/my_kd", "imports=['/home/jürgen/my_kd']"),
    ],
)
def test_home_is_found(monkeypatch: pytest.MonkeyPatch, typed: str, read: str) -> None:
    monkeypatch.setenv("HOME", "/home/müller")
    assert readable([typed]) == [read]
    OverridesParser.create().parse_overrides([read])
    key, _, value = read.partition("=")
    assert key != "imports" or not {"'", "["} & set("".join(own_code.listed(value)))


def test_the_words_laid_over_a_sweep_are_read_as_a_command_is() -> None:
    assert _words("seed=0,1 'dataset.root=/my photos'") == ["seed=0,1", "dataset.root='/my photos'"]
    with pytest.raises(UserError, match="give both"):
        _words("dataset.root='/my")


def test_filling_a_table_reads_its_words_as_a_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert teachers(["fill", "teacher.checkpoint=/no/[such].pth", "temperature=2"]) == 2
    assert capsys.readouterr().err.endswith("type temperature.value=2\n")
    assert teachers(["fill", "teacher.checkpoint=/no/[such].pth"]) == 2
    assert "[such].pth: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argument",
    ["method=kd", "seed=0,1", "paths.results='a b'", "dataset.root=null", "teacher.checkpoint=${x}", "-m", "a b"],
)
def test_what_is_no_such_path_stays(argument: str) -> None:
    assert readable([argument]) == [argument]


def test_a_sweep_over_folders_is_still_one(tmp_path: Path) -> None:
    assert readable(["-m", "dataset.root=a,b"]) == ["-m", "dataset.root=a,b"]
    (tmp_path / "a,b").mkdir()
    assert readable(["-m", f"dataset.root={tmp_path}/a,b"]) == ["-m", f"dataset.root='{tmp_path}/a,b'"]


def test_a_run_keeps_its_results_in_such_a_folder(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "Ergebnisse, [neu] = ü"
    assert cli("method=none", f"paths.results={results}").code == 0
    assert len(list(results.glob("runs/*/record.json"))) == 1

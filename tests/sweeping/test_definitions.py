"""Sweep files: every one composes, and the quick way to a run's signature gives the run's own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from kd_experiments import files, own_code
from kd_experiments.cli.composing import composer
from kd_experiments.cli.expanding import expand
from kd_experiments.config import check
from kd_experiments.errors import UserError
from kd_experiments.identity import signature
from kd_experiments.places import home
from kd_experiments.reporting.frame import rows
from kd_experiments.reporting.frame import runs as every_run
from kd_experiments.reporting.sweep_tables import grids
from kd_experiments.sweeping import definitions as catalogue
from kd_experiments.sweeping.__main__ import main as sweeping
from kd_experiments.sweeping.definitions import names, outline, read, refuse_wrong
from kd_experiments.sweeping.overlays import overlays
from tests.conftest import TINY, Cli, records
from tests.reporting.synthetic import record

LAMBDAS = "lrds_lambdas"
DIGITS = "experiment=small/digits"


def own_signature(name: str, overrides: list[str]) -> str:
    """The signature of the run that the command line would start."""
    given: Any = OmegaConf.to_container(compose("config", [*overrides, f"+sweeps={name}"]), resolve=True)
    return signature(check(given))


@pytest.mark.parametrize("name", names())
def test_every_sweep_composes(name: str) -> None:
    """Its first and its last run pass every check, and the head of the file tells the truth about its size."""
    lines = (home() / "sweeps" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_" and lines[1].startswith("# ")
    with composer():
        whole = compose("config", [f"+sweeps={name}"], return_hydra_config=True)
        jobs = expand([f"{key}={value}" for key, value in whole.hydra.sweeper.params.items()])
        assert own_signature(name, jobs[0]) != own_signature(name, jobs[-1])
    size = re.search(r"# Size: (\d+) runs", "\n".join(lines))
    assert size is None or int(size.group(1)) == len(jobs)
    told = outline(name)
    assert (told.title, len(told.jobs)) == (lines[1].removeprefix("# "), len(jobs))


@pytest.mark.parametrize("name", names())
def test_every_sweep_runs_in_a_small_setting(name: str) -> None:
    """Its first and its last run pass every check with the digits laid over them."""
    jobs = outline(name, [DIGITS]).jobs
    with composer():
        for job in (jobs[0], jobs[-1]):
            own_signature(name, list({DIGITS, *(f"{key}={value}" for key, value in job.items())}))


@pytest.mark.parametrize(
    ("name", "over"),
    [("lrds_ratio", []), (LAMBDAS, ["seed=7", DIGITS]), ("cmd_noise_symmetric", [DIGITS, "recipe.epochs=3"])],
)
def test_signatures_are_those_of_the_runs(name: str, over: list[str]) -> None:
    """Values written into a composed configuration, one job after another, against composing each job afresh."""
    sweep = read(name, over=over)
    with composer():
        for job in sweep.jobs[::17]:
            overrides = list({*(f"{key}={value}" for key, value in job.overrides.items()), *over})
            assert job.signature == own_signature(name, overrides), overrides
    # A ratio of 1 is no selection, whoever would have selected.
    kept = [
        {**job.overrides, "selection": "none"} if job.overrides.get("selection.ratio") == "1.0" else job.overrides
        for job in sweep.jobs
    ]
    assert len({job.signature for job in sweep.jobs}) == len({json.dumps(overrides) for overrides in kept})


def test_a_sweep_says_what_it_is() -> None:
    sweep = read(LAMBDAS)
    assert "lambda1" in sweep.title and sweep.paper.startswith("Lan et al. 2025") and "Size" not in sweep.paper
    assert sweep.table.rows == ("weighting.lambda1",) and sweep.table.columns == ("weighting.lambda2",)
    assert sweep.table.reference == {"weighting.lambda1": "4", "weighting.lambda2": "1"}
    assert list(sweep.jobs[0].overrides) == ["seed", "weighting.lambda1", "weighting.lambda2"]
    assert sweep.command == f"python -m kd_experiments --multirun +sweeps={LAMBDAS}"


def test_without_a_layout_the_first_swept_key_makes_the_rows() -> None:
    table = outline("dtd_gamma").table
    assert (table.rows, table.columns) == (("temperature.gamma",), ())


def test_what_is_typed_replaces_what_the_file_sweeps() -> None:
    told = outline("lrds_parts", [DIGITS, "seed=4", "method=none,kd", "recipe.epochs=3"])
    assert [dict(job) for job in told.jobs] == [
        {"seed": "4", "method": method, "experiment": "small/digits"} for method in ("none", "kd")
    ]
    assert told.table == catalogue.TableLayout(("method",), (), {}), "logit_mse is not there, and there is one column"
    assert told.command.endswith(f"+sweeps=lrds_parts {DIGITS} seed=4 method=none,kd recipe.epochs=3")
    assert len(outline("lrds_ratio", ["seed=range(0,5)"]).jobs) == 7 * 6 * 5


def test_a_sweep_with_typed_keys_launches_each_run_once(cli: Cli, tmp_path: Path) -> None:
    swept = ("--multirun", "+sweeps=btkd_steps", DIGITS, "method=none,kd", "seed=1,3")
    answer = cli(*swept)
    assert answer.code == 0 and "sweep of 4 runs: 4 done" in answer.out, answer.out
    made = records(tmp_path)
    assert {(one["config"]["method"]["name"], one["config"]["seed"]) for one in made} == {
        (method, seed) for method in ("none", "kd") for seed in (1, 3)
    }
    (found,) = overlays("btkd_steps", [one["typed"] for one in made])
    assert found[:2] == ("seed=1,3", DIGITS)
    (grid,) = grids(rows(every_run(tmp_path)), ["btkd_steps"])
    assert grid.jobs == 4 and len(grid.sweep.jobs) == 5 * 2


@pytest.mark.parametrize(
    "layout",
    [
        "{rows: [method], columns: [selection.ratio]}",
        "{rows: [seed]}",
        "{reference: {method: lrds}}",
        "{reference: {revision: none}}",
        "{rws: [method]}",
    ],
)
def test_a_layout_that_does_not_fit_is_refused(layout: str) -> None:
    jobs = [{"seed": "0", "method": "kd"}, {"seed": "0", "method": "none"}]
    with pytest.raises(UserError, match="table"):
        catalogue._layout(OmegaConf.create(layout), jobs)


def test_what_was_composed_is_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(LAMBDAS, tmp_path, [DIGITS])
    assert read(LAMBDAS, over=[DIGITS]) == first
    monkeypatch.setattr(catalogue, "_compose_all", lambda *asked: pytest.fail("composed again"))
    assert read(LAMBDAS, tmp_path, [DIGITS]) == first
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(kept.read_text()[:100])
    monkeypatch.setattr(catalogue, "_compose_all", lambda *asked: first)
    assert read(LAMBDAS, tmp_path, [DIGITS]) == first
    monkeypatch.setattr(catalogue, "_digest", lambda name: "another")
    monkeypatch.setattr(catalogue, "_compose_all", lambda *asked: pytest.fail("composed again"))
    with pytest.raises(BaseException, match="composed again"):
        read(LAMBDAS, tmp_path, [DIGITS])


def test_an_unknown_sweep_is_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean lrds_ratio"):
        read("lrds_ratoi")
    answer = cli("--multirun", "+sweeps=lrds_ratoi")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "+sweeps=lrds_ratoi: no such choice; did you mean lrds_ratio?" in answer.err
    assert not records(tmp_path)


def test_a_run_does_not_depend_on_how_its_table_is_laid_out(cli: Cli, tmp_path: Path) -> None:
    assert cli("+sweeps=lrds_lambdas", DIGITS, "method=none", "weighting=constant", "revision=none",
               "selection=none").code == 0  # fmt: skip
    (record,) = records(tmp_path)
    assert "table" not in record["config"]


# Files of the user's own that are wrong

SWEPT = "# @package _global_\n# Mine.\nhydra:\n  sweeper:\n    params:\n"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sweeps of the user's own, beside the suite's."""
    folder = tmp_path / "my_kd" / "sweeps"
    folder.mkdir(parents=True)
    (tmp_path / "my_kd" / "__init__.py").touch()
    monkeypatch.setenv(own_code.VARIABLE, str(tmp_path / "my_kd"))
    monkeypatch.setattr(own_code, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_kd", raising=False)
    return folder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("method: [kd\n", "no plain YAML in line"),
        ("", "holds no hydra.sweeper.params"),
        ("- method\n", "holds no"),
        ("# @package _global_\n# Mine.\nmethod: kd\n", "holds no hydra.sweeper.params"),
        (SWEPT + "      method: kd,lrsd\n", "did you mean lrds?"),
        (SWEPT + "      method: kd,none\n      recipe.lr: 0.1,fast\n", "recipe.lr=fast: expected a number"),
        (SWEPT + "      method: kd\n      recipe.lrr: 0.1,0.2\n", "did you mean recipe.lr?"),
        (SWEPT + "      method: none\n      selection: none,influence\n", "has no teacher to apply it to"),
        (SWEPT + "      method: kd,(none\n", "cannot be read as key=value"),
        (SWEPT + "      method: kd,none\n      seed: 0,1\ntable: {rows: [mehtod]}\n", "table: rows and columns must"),
        (SWEPT + "      method: kd,none\ntable: {metric: top1}\n", "table.metric: top1 is none of test_top1, val_top1"),
        (SWEPT + "      method: kd,none\ntable: [1, 2]\n", "cannot be read as a sweep"),
    ],
)
def test_a_wrong_file_costs_one_line(mine: Path, cli: Cli, tmp_path: Path, content: str, words: str) -> None:
    (mine / "wrong.yaml").write_text(content)
    answer = cli("--multirun", "+sweeps=wrong")
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    assert words in answer.err and str(mine / "wrong.yaml") in answer.err and not records(tmp_path)


def test_a_wrong_file_leaves_the_others_as_they_are(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "wrong.yaml").write_text(SWEPT + "      method: kd,(none\n")
    (mine / "broken.yaml").write_text("method: [kd\n")
    (mine / "right.yaml").write_text(SWEPT + "      method: kd,none\n")
    assert sweeping(["list", f"paths.results={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("left out: ") for line in lines) == 2
    assert any(line.startswith("right ") for line in lines) and any(line.startswith(f"{LAMBDAS} ") for line in lines)
    refuse_wrong("right", ["+sweeps=right", *TINY])


def test_what_is_typed_beside_the_suites_own_files_counts() -> None:
    with pytest.raises(UserError, match=r"lrds_parts\.yaml: recipe\.lr=fast: expected a number"):
        refuse_wrong("lrds_parts", ["--multirun", "+sweeps=lrds_parts", DIGITS, "recipe.lr=fast"])


def test_what_is_typed_besides_counts(mine: Path) -> None:
    (mine / "some.yaml").write_text(SWEPT + "      method: kd,none\n")
    with pytest.raises(UserError, match=r"recipe\.lr=fast: expected a number .*in the run method=kd recipe.lr=fast"):
        refuse_wrong("some", ["--multirun", "+sweeps=some", "recipe.lr=fast", "hydra/launcher=parallel"])


def test_a_report_leaves_out_the_table_of_a_file_that_is_wrong_by_now(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "wrong.yaml").write_text("method: [kd\n")
    for seed in (0, 1):
        files.write_json(tmp_path / "runs" / f"{seed}" / "record.json", record("kd", seed=seed, sweep="wrong"))
    runs = rows(every_run(tmp_path))
    assert len(runs) == 2 and grids(runs) == [] and capsys.readouterr().err.count("left out: ") == 1
    with pytest.raises(UserError, match="no plain YAML"):
        grids(runs, ["wrong"])

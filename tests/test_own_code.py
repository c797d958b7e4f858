"""A folder of the user's own, from a folder that is not the checkout: found, used by every command, and told apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_experiments import experiment as kd
from kd_experiments import own_code
from kd_experiments.cli import layers
from kd_experiments.cli.choices import choices, methods
from kd_experiments.config import check
from kd_experiments.data.__main__ import main as data
from kd_experiments.data.dataset import Data
from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import READERS, load
from kd_experiments.data.settings import DATASETS
from kd_experiments.distillers import DISTILLERS
from kd_experiments.errors import UserError
from kd_experiments.networks import CATALOGUE, build
from kd_experiments.networks import __main__ as networks
from kd_experiments.students.__main__ import main as students
from kd_experiments.students.making import make_learners
from kd_experiments.sweeping.__main__ import main as sweeping
from tests.conftest import Cli, composed, records, shared_teachers

FILES = {
    "losses/loss.py": """
        from typing import ClassVar
        import torch.nn.functional as F
        from torch import Tensor
        from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
        from kd_experiments.schema import Positive

        @DISTILLERS.register("{name}")
        class Huber(LogitDistiller):
            term: ClassVar[str] = "huber"

            def __init__(self, delta: Positive) -> None:
                super().__init__()
                self.delta = delta

            def per_sample(self, batch: DistillationBatch) -> Tensor:
                logits = batch.student.logits, batch.targets.at(batch.temperature)
                return F.huber_loss(*logits, reduction="none", delta=self.delta).mean(1)
    """,
    "nets.py": """
        from torch import nn
        from kd_experiments.networks import register

        @register("{name}_net")
        def tiny(classes: int, channels: int) -> nn.Module:
            "A convolution and a linear layer."
            net = nn.Sequential(
                nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
            )
            net.feature_modules = ("1",)
            return net
    """,
    "data.py": """
        from kd_experiments.data.digits import read_digits
        from kd_experiments.data.load import READERS
        from kd_experiments.data.settings import DATASETS, DatasetConfig

        DATASETS.register("{name}_data")(DatasetConfig)
        READERS["{name}_data"] = lambda config, folder: read_digits()
    """,
    "conf/dataset/{name}_data.yaml": """
        name: {name}_data
        root: null
        download: false
        train_size: null
        val_fraction: null
        split_seed: 0
        crop_padding: 0
        flip: false
        mean: null
        std: null
    """,
    "conf/method/{name}.yaml": """
        # @package _global_
        # Huber distance of the logits.
        # Paper: none. Year: 2026. Evidence: [ours]
        method:
          name: {name}
          distiller: {name}
          delta: 1.0
    """,
    "sweeps/{name}_sweep.yaml": """
        # @package _global_
        # Against KD.
        hydra:
          sweeper:
            params:
              method: kd,{name}
              student: {name}_net
    """,
}


def write(folder: Path, name: str) -> Path:
    """The package `name` in `folder`, without an __init__.py."""
    import textwrap

    for path, text in FILES.items():
        place = folder / name / path.format(name=name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text.replace("{name}", name)))
    return folder / name


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a package in the current folder; nothing of it is left afterwards."""
    name = f"mine_{abs(hash(request.node.name))}"
    write(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(own_code.VARIABLE, raising=False)
    path, loaded, states = list(sys.path), dict(own_code._loaded), dict(own_code._states)
    yield name
    sys.path[:], own_code._loaded, own_code._states = path, loaded, states
    forget(name)


def forget(name: str) -> None:
    """As a process that has not heard of it."""
    os.environ.pop(own_code.VARIABLE, None)
    own_code._loaded = {key: module for key, module in own_code._loaded.items() if module.__name__ != name}
    DISTILLERS._choices.pop(name, None)
    DATASETS._choices.pop(f"{name}_data", None)
    READERS.pop(f"{name}_data", None)
    CATALOGUE.pop(f"{name}_net", None)
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def test_a_folder_of_ones_own_is_used_by_a_run(mine: str, cli: Cli, tmp_path: Path) -> None:
    answer = cli(f"imports=[{mine}]", f"method={mine}", f"student={mine}_net", "method.delta=2", shared_teachers())
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["config"]["method"]["delta"] == 2 and record["student"]["network"] == f"{mine}_net"
    header = next((tmp_path / "runs").glob("*/history.csv")).read_text().splitlines()[0]
    assert "loss_huber" in header
    out = tmp_path / "student.pth"
    exported = ["export", record["signature"], f"out={out}", f"paths.results={tmp_path}"]
    forget(mine)
    assert students(exported) == 2 and not out.exists()
    with pytest.raises(kd.UserError, match=rf"typed with imports=\[{mine}\]: give imports"):
        kd.load_student(record["signature"], tmp_path)
    assert mine not in sys.modules, "what a record names is not imported"
    assert students([*exported, f"imports=[{mine}]"]) == 0 and out.exists()
    forget(mine)
    assert kd.load_student(record["signature"], tmp_path, [mine]).size == 8
    forget(mine)
    assert len(kd.samples(record["signature"], tmp_path, [mine])) == 200
    assert "method.delta=-1: must be over 0" in cli(f"imports=[{mine}]", f"method={mine}", "method.delta=-1").err


def test_a_sweep_of_ones_own_is_run_listed_and_told(
    mine: str, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = cli("--multirun", f"imports={mine}", f"+sweeps={mine}_sweep", shared_teachers())
    assert answer.code == 0 and "sweep of 2 runs: 2 done" in answer.out, answer.err
    assert {record["config"]["method"]["name"] for record in records(tmp_path)} == {"kd", mine}
    capsys.readouterr()
    assert sweeping(["status", f"imports=[{mine}]", f"name={mine}_sweep", f"paths.results={tmp_path}"]) == 0
    assert "2 runs: " in capsys.readouterr().out


def test_help_and_mistakes_know_it(mine: str, cli: Cli) -> None:
    out = cli(f"imports=[{mine}]", "--help", tiny=False).out
    assert f"{mine}_net" in out and f"{mine}_sweep" in out and "Huber distance of the logits." in out
    assert f"did you mean {mine}?" in cli(f"imports=[{mine}]", f"method={mine}s").err


@pytest.mark.parametrize("how", ["path", "variable", "entry point"])
def test_the_other_ways_to_name_it(mine: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    if how == "path":
        own_code.use([f"../{mine}"])
    elif how == "variable":
        monkeypatch.setenv(own_code.VARIABLE, str(tmp_path / mine))
    else:
        info = tmp_path / "thing-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"[{own_code.GROUP}]\nanything = {mine}\n")
        (info / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(str(tmp_path))
    own_code.load()
    assert mine in DISTILLERS and mine in choices()["method"] and f"{mine}_net" in choices()["student"]
    assert mine in [method.name for method in methods()] and f"{mine}_sweep" in choices()["+sweeps"]


def test_every_command_understands_it(
    mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data(["prepare", f"{mine}_data", f"imports=[{mine}]"]) == 0
    assert "1347 training and 450 test images" in capsys.readouterr().out
    forget(mine)
    monkeypatch.setattr(networks, "table", lambda: " ".join(CATALOGUE))
    assert networks.main([f"imports=[{mine}]"]) == 0 and f"{mine}_net" in capsys.readouterr().out
    assert networks.main([f"imprts=[{mine}]"]) == 2 and "did you mean imports?" in capsys.readouterr().err


def test_a_sweep_says_what_the_variable_names(mine: str, cli: Cli, tmp_path: Path) -> None:
    """A worker on another machine has no such variable."""
    os.environ[own_code.VARIABLE] = str(tmp_path / mine)
    assert own_code.written_out([f"imports=[{mine}]"]) == [f"imports=[{mine}]"], "nothing is named twice"
    assert cli("--multirun", "method=none", f"student={mine}_net").code == 0
    assert f"imports=['{tmp_path / mine}']" in records(tmp_path)[0]["typed"]


def test_two_folders_of_one_name_are_not_one_package(mine: str, tmp_path: Path) -> None:
    own_code.use([mine])
    own_code.load()
    (tmp_path / "other" / mine / "conf").mkdir(parents=True)
    own_code.use([str(tmp_path / "other" / mine)])
    with pytest.raises(UserError, match="is the name of another module, too"):
        own_code.load()


def test_a_file_that_changed_is_not_run_as_it_was(mine: str, tmp_path: Path) -> None:
    own_code.use([mine])
    own_code.load()
    (tmp_path / mine / "losses" / "loss.py").write_text("")
    with pytest.raises(kd.UserError, match=r"loss\.py: changed since it was imported; restart"):
        kd.run(["method=none"])


@pytest.mark.parametrize("flag", ["--signature", "device=cpu"])
def test_a_strangers_file_imports_nothing(flag: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "evil.py").write_text("open('trace', 'w').close()\n\n\ndef f(classes): ...\n")
    theirs = tmp_path / "experiment" / "theirs.yaml"
    theirs.parent.mkdir()
    theirs.write_text("# @package _global_\nstudent:\n  network: evil.f\n")
    answer = cli(f"hydra.searchpath=['file://{tmp_path}']", "experiment=theirs", "method=none", flag)
    assert answer.code == 2 and "evil is not among your own code; add imports=[evil]" in answer.err, answer.err
    assert not (tmp_path / "trace").exists() and "evil" not in sys.modules


def test_a_network_that_cannot_be_imported_is_told(mine: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for network, words in ((f"{mine}.nest.tiny", "give MODULE.FUNCTION"), ("timm:resnet18", "pip install")):
        answer = cli(f"imports=[{mine}]", f"student={network}", "--signature")
        assert answer.code == 2 and answer.err.count("\n") == 1 and words in answer.err, answer.err


def test_started_processes_inherit_it(mine: str) -> None:
    own_code.use([mine])
    own_code.use([mine])
    assert os.environ[own_code.VARIABLE] == str(Path(mine).resolve())


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("nowhere", "no such package or module"),
        ("./nowhere", "no such package or module"),
        ("broken", "NameError"),
        ("ends", "SystemExit: 3"),
        ("code", "code is the name of another module, too"),
    ],
)
def test_mistakes_are_one_clear_line(
    typed: str, words: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(own_code.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("\nundefined\n")
    (tmp_path / "ends.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "code").mkdir()
    answer = cli(f"imports=[{typed}]")
    assert answer.code == 2 and answer.err.count("\n") == 1 and words in answer.err and typed in answer.err
    if typed == "broken":
        assert "broken.py, line 2" in answer.err


class Convolutional(nn.Module):
    """What somebody else may have written: no Linear at its end, hence no embedding."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)
        self.head = nn.Conv2d(4, classes, 1)
        self.feature_modules = ("body",)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images).relu()).mean((2, 3))


def no_module(classes: int) -> str:
    return "text"


def fixed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))


def greedy(classes: int, secret: int) -> nn.Module:
    return nn.Identity()


def unlucky(classes: int) -> nn.Module:
    raise RuntimeError("no luck\nat all")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module is the user's own code."""
    monkeypatch.setenv(own_code.VARIABLE, __name__)
    monkeypatch.setattr(own_code, "_loaded", {})


def test_only_code_that_was_named_is_called() -> None:
    for name in (f"{__name__}.Convolutional", "os.getcwd", "torchvision.datasets.CIFAR10"):
        with pytest.raises(UserError, match=r"is not among your own code; add imports=\["):
            build(name, classes=5, channels=1, size=8)


@pytest.mark.usefixtures("named")
def test_any_module_is_a_network() -> None:
    network = build(f"{__name__}.Convolutional", classes=5, channels=1, size=8)
    plain = Convolutional(5)
    assert network.state_dict().keys() == plain.state_dict().keys()
    network.load_state_dict(plain.state_dict(), strict=True)
    images = torch.rand(2, 1, 8, 8)
    output = network(images)
    torch.testing.assert_close(output.logits, plain(images))
    assert [tuple(maps.shape) for maps in output.features] == [(2, 4, 6, 6)] and output.embedding.shape == (2, 0)
    with pytest.raises(UserError, match="do not come from a linear layer"):
        _ = network.classifier


def test_torchvisions_networks_are_networks_by_their_own_names() -> None:
    network = build("torchvision.models.resnet18", classes=10, channels=3, size=32).eval()
    output = network(torch.rand(2, 3, 32, 32))
    assert output.features == () and output.embedding.shape == (2, 512)
    torch.testing.assert_close(network.classifier(output.embedding), output.logits)


def test_timms_networks_are_networks() -> None:
    timm = pytest.importorskip("timm", reason="needs timm")
    network = build("timm:resnet18", classes=10, channels=1, size=32).eval()
    output = network(torch.rand(2, 1, 32, 32))
    assert output.logits.shape == (2, 10) and len(output.features) == len(timm.create_model("resnet18").feature_info)
    torch.testing.assert_close(network.classifier(output.embedding), output.logits)
    with pytest.raises(UserError, match=r"timm:resnet81: timm has no such model; did you mean resnet"):
        build("timm:resnet81", classes=10)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_module", "gives a str, not an nn.Module"),
        ("fixed", r"gives \(1, 7\) for one image of 5 classes"),
        ("greedy", "asks for secret"),
        ("unlucky", r"unlucky: cannot be made: no luck$"),
        ("nothing", "no such function or class"),
    ],
)
def test_what_is_no_classifier_is_told(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(f"{__name__}.{name}", classes=5, channels=1, size=8)
    assert "\n" not in str(error.value)


def staged(stages: int, head: bool) -> type[nn.Module]:
    """Somebody's network of so many stages, with or without a last linear layer."""

    class Net(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.body = nn.Sequential(*(nn.Conv2d(1 if not place else 4, 4, 3, padding=1) for place in range(4)))
            self.head = nn.Linear(4, classes) if head else nn.Conv2d(4, classes, 1)
            self.feature_modules = tuple(f"body.{place}" for place in range(4 - stages, 4))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.body(images)
            return self.head(maps.mean((2, 3))) if head else self.head(maps).mean((2, 3))

    return Net


NETWORKS = {f"net{stages}{'_headed' * head}": staged(stages, head) for stages in (0, 1, 3) for head in (False, True)}
globals().update(NETWORKS)
COMPARING = [
    method for method in layers.choices("method") if DISTILLERS[layers.distiller_of(method) or ""].needs != "logits"
]


@pytest.fixture(scope="module")
def images() -> Data:
    return load(check(composed("dataset.train_size=60")).dataset, NoNoise(), Path())


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("method", COMPARING)
def test_a_method_takes_a_network_of_ones_own_or_says_what_it_lacks(method: str, images: Data) -> None:
    """Whatever it compares, from no stage to three, as student and as teacher."""
    taken = 0
    for name in NETWORKS:
        for own, other in (("student", "teacher"), ("teacher", "student")):
            given = composed(f"method={method}", f"{other}=resnet8")
            given[own] = {**given[own], "network": f"{__name__}.{name}"}
            if "negatives" in given["method"]:
                given["method"] = {**given["method"], "negatives": 20}
            config = check(given)
            teacher = build(config.teacher.network, classes=10, channels=1, size=8)
            try:
                make_learners(config, images, lambda teacher=teacher: teacher)
                taken += 1
            except UserError as error:
                said = str(error)
                assert "\n" not in said and f"{own}={__name__}.{name}" in said and said.startswith("method"), said
                assert "choose another" in said or (method == "fitnet" and "stages 0 to" in said), said
    needs_more = method == "fsp" or DISTILLERS[layers.distiller_of(method) or ""].reads_last_map  # equal widths
    assert taken or needs_more


@pytest.mark.usefixtures("named")
def test_features_without_a_last_linear_layer_teach_and_are_selected_by_no_influence(cli: Cli, tmp_path: Path) -> None:
    network = build(f"{__name__}.net3", classes=10, channels=1, size=8)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    own = (f"teacher.network={__name__}.net3", f"teacher.checkpoint={tmp_path / 'own.pth'}")
    answer = cli("method=at", *own)
    assert answer.code == 0, answer.err
    answer = cli("method=lrds", *own)
    assert answer.code == 2 and f"teacher={__name__}.net3 has none; give another teacher" in answer.err

"""What a run is: equal meaning is one signature and one label, and anything that counts is another."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_experiments import digests, identity, known, naming, own_code, places
from kd_experiments.cli import layers
from kd_experiments.config import Config, check
from kd_experiments.errors import UserError
from kd_experiments.identity import EXCLUDED, signature
from kd_experiments.schema import flattened
from kd_experiments.tracking import machine
from tests.conftest import Cli, composed, records

METHODS = layers.choices("method")
PLUG_INS = layers.choices("plug_in")
GROUPS = (*naming.METHOD_GROUPS, "recipe", "dataset", "teacher", "student", "seed", "label_noise")


@functools.cache
def base(*overrides: str) -> dict[str, Any]:
    return composed(*overrides)


def config(*overrides: str) -> Config:
    return check(base(*overrides))


@functools.cache
def with_parts(method: str, plug_in: str) -> dict[str, Any]:
    """`base(method=..., plug_in=...)` without Hydra, which would take most of this file's time."""
    return base() | layers.method_values(method, plug_in, base())


def label(*overrides: str) -> str:
    return str(naming.label_of(config(*overrides)))


def method_label(*overrides: str) -> str:
    return naming.label_of(config(*overrides)).method


# Equal meanings: each row is one run, however it is typed.
@pytest.mark.parametrize(
    "spellings",
    [
        (("method=at", "method.kd_weight=0.9"), ("method=at_kd",)),
        (("method=lrds", "revision.eta=0.8"), ("method=lrds",)),
        (("method=btkd", "weighting.mean=subset", "recipe.lr=1"), ("method=btkd", "recipe.lr=1.0")),
        (("method=kd", "temperature.value=4"), ("method=kd", "temperature.value=4.0"), ("method=kd",)),
        (("method=cmd_s", "weighting.eta=2"), ("method=cmd_s", "weighting.eta=2.0")),
        (("method=kd", "recipe.weight_decay=-0.0"), ("method=kd", "recipe.weight_decay=0")),
        (("method=kd", "precision=auto", "device=cpu"), ("method=kd", "precision=float32", "device=cpu")),
        (("method=none", "teacher=resnet32", "teacher.seed=7"), ("method=none",)),
        (("method=at", "temperature.value=9"), ("method=at",)),
        (("method=kd", "recipe.milestones=[3]", "recipe.gamma=0.5"), ("method=kd",)),  # of schedule=step alone
        (("method=kd", "revision=label_revision", "selection=influence"), ("method=kd", "plug_in=lrds")),
        (("method=lrds", "selection.ratio=1"), ("method=lr",)),
        (("method=kd", "recipe=small_12", "recipe.epochs=20"), ("method=kd",)),
        (("method=kd", "peer=vgg8"), ("method=kd",)),
        (("method=lrds", "weighting.lambda1=0.4"), ("method=lrds",)),
        (("method=lrds", "dataset=cifar100", "weighting.lambda1=4"), ("method=lrds", "dataset=cifar100")),
        *(
            (
                (other, "recipe.optimizer=adam", "recipe.momentum=0.5", "recipe.nesterov=false"),
                (other, "recipe.optimizer=adam"),
            )
            for other in ("method=kd", "method=none")
        ),
        (
            ("method=kd", "recipe.schedule=one_cycle", "recipe.warmup_epochs=3"),
            ("method=kd", "recipe.schedule=one_cycle"),
        ),
        (("method=fitnet", "teacher.table_dtype=float16"), ("method=fitnet",)),
    ],
    ids=lambda rows: " = ".join(rows[0]),
)
def test_equal_meaning_is_one_signature_and_one_label(spellings: tuple[tuple[str, ...], ...]) -> None:
    assert len({signature(config(*typed)) for typed in spellings}) == 1
    assert len({label(*typed) for typed in spellings}) == 1


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("method=kd", "temperature.value=20"), "kd temperature.value=20"),
        (("method=dkd", "method.beta=0"), "dkd method.beta=0"),
        (("method=dkd", "method.warm_up_epochs=1"), "dkd warm_up_epochs=1"),
        (("method=dkd", "plug_in=lrds"), "dkd + lrds"),
        (("method=dkd", "plug_in=lrds", "selection.ratio=0.6"), "dkd + lrds ratio=0.6"),
        (("method=at", "method.kd_weight=0.9"), "at_kd"),
        (("method=lrds", "selection=random"), "lrds selection=random"),
        (("method=none", "label_loss=label_smoothing"), "none_ls"),
        (("method=cmd_p", "peer=wrn_16_1"), "cmd_p peer=wrn_16_1"),
    ],
)
def test_labels_show_what_differs_from_the_methods_file(typed: tuple[str, ...], expected: str) -> None:
    assert method_label(*typed) == expected


def test_every_method_file_has_its_own_name() -> None:
    alike: dict[str, list[str]] = {}
    for method in METHODS:
        alike.setdefault(signature(check(with_parts(method, "none"))), []).append(method)
    for methods in alike.values():
        labels = {naming.label_of(check(with_parts(method, "none"))).method for method in methods}
        assert labels == {min(methods)}


@pytest.mark.parametrize("plug_in", PLUG_INS)
def test_files_are_read_as_hydra_composes_them(plug_in: str) -> None:
    for number, method in enumerate(METHODS if plug_in == "none" else METHODS[::7]):
        student = ("student=MobileNetV2",) * (number % 7 == 1)  # values may follow the networks
        whole = base(f"method={method}", *((f"plug_in={plug_in}",) * (plug_in != "none")), *student)
        read = layers.method_values(method, plug_in, whole)
        assert read == {group: whole[group] for group in read}, method
        rest = base(*student)
        assert all(whole[key] == rest[key] for key in whole if key not in (*read, "plug_in")), method


# Random changes of any key: one label is one configuration, and the other way round.
def values_for(key: str, value: Any) -> st.SearchStrategy[Any]:
    """Other values of a key of the same kind, its own among them."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from([value, value + 1, 2 * value + 1])
    if isinstance(value, float):
        return st.sampled_from([value, value * 0.5 + 0.25, value * 0.25])
    return st.just(value)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A composed configuration with up to three keys changed, and what was changed."""
    method, plug_in = draw(st.sampled_from(METHODS)), draw(st.sampled_from(PLUG_INS))
    whole = with_parts(method, plug_in)
    flat = {key: value for key, value in flattened(whole).items() if key.split(".")[0] in GROUPS}
    changed = draw(st.lists(st.sampled_from(sorted(flat)), max_size=3, unique=True))
    drawn = {key: draw(values_for(key, flat[key])) for key in changed}
    return with_values(whole, drawn), f"{method} {plug_in} {drawn}"


def with_values(nested: Mapping[str, Any], changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        key: with_values(value, changes, f"{prefix}{key}.")
        if isinstance(value, Mapping)
        else changes.get(f"{prefix}{key}", value)
        for key, value in nested.items()
    }


SEEN: dict[str, str] = {}  # label -> signature, over all examples
NAMED: dict[str, str] = {}


@settings(max_examples=150)
@given(configurations())
def test_one_label_is_one_configuration(drawn: tuple[dict[str, Any], str]) -> None:
    whole, what = drawn
    try:
        made = check(whole)
    except UserError:
        return
    name, of_run = str(naming.label_of(made)), signature(made)
    assert SEEN.setdefault(name, of_run) == of_run, (what, name)
    assert NAMED.setdefault(of_run, name) == name, (what, name)


@settings(max_examples=100)
@given(st.sampled_from(METHODS), st.data())
def test_a_key_counts_unless_it_is_excluded_or_not_used(method: str, data: st.DataObject) -> None:
    """Changing one key changes the signature exactly where the identity holds the key."""
    whole = with_parts(method, "none")
    flat = {key: value for key, value in flattened(whole).items() if isinstance(value, int | float)}
    key = data.draw(st.sampled_from(sorted(flat)))
    value = flat[key]
    other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 0.5 + 0.125
    try:
        before, after = check(whole), check(with_values(whole, {key: other}))
    except UserError:
        return
    excluded = any(key == one or key.startswith(f"{one}.") for one in EXCLUDED)
    counts = key in flattened(identity.run_identity(before)) or key in flattened(identity.run_identity(after))
    assert not (excluded and counts)
    assert (signature(before) != signature(after)) == counts, key


def test_a_new_key_counts_by_itself() -> None:
    """No list names what counts: everything that is neither excluded nor unused is in the identity."""
    made = config("method=lrds")
    missing = set(flattened(made.values)) - set(flattened(identity.run_identity(made)))
    unused = {
        "method.temperature",
        "peer.network",
        "peer.checkpoint",
        "recipe.milestones",
        "recipe.gamma",
        "teacher.snapshots",
        "teacher.mean",
        "teacher.std",
    }
    unused |= {"temperature.name", "temperature.value", "teacher.recipe.milestones", "teacher.recipe.gamma"}
    assert {key for key in missing if key not in EXCLUDED and key.split(".")[0] not in EXCLUDED} <= unused


# The user's own data and code.
def photos(folder: Path, classes: int = 2, images: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for number in range(classes):
            below = folder / part / f"class{number}"
            below.mkdir(parents=True)
            for image in range(images):
                pixels = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(below / f"{image}.png")
    return folder


def test_own_images_are_named_by_their_content(tmp_path: Path) -> None:
    def named(folder: Path) -> str:
        return signature(check(composed("dataset=image_folder", f"dataset.root={folder}", f"paths.results={tmp_path}")))

    def setting(folder: Path) -> str:
        made = check(composed("dataset=image_folder", f"dataset.root={folder}", f"paths.results={tmp_path}"))
        return naming.label_of(made).stage  # what tables keep apart

    two = photos(tmp_path / "two")
    first, stage = named(two), setting(two)
    shutil.move(two, tmp_path / "moved")
    assert named(tmp_path / "moved") == first
    assert setting(tmp_path / "moved") == stage
    three = photos(tmp_path / "three", classes=3)
    assert named(three) != first and setting(three) != stage
    (tmp_path / "moved" / "train" / "class0" / "0.png").unlink()
    fewer = named(tmp_path / "moved")
    assert fewer != first
    changed = tmp_path / "moved" / "train" / "class0" / "1.png"
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(changed)
    assert named(tmp_path / "moved") not in (first, fewer)


def test_a_root_that_is_no_folder_of_images_is_refused_before_its_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bin", "proc"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "kcore").touch()
    monkeypatch.setattr(digests, "of_file", lambda path: pytest.fail(f"{path} is read"))
    given = composed("dataset=image_folder", f"dataset.root={tmp_path / 'root'}", f"paths.results={tmp_path}")
    with pytest.raises(UserError, match=r"root/bin: no image in it \(kcore\)"):
        signature(check(given))
    monkeypatch.setattr(known, "_MOST_FILES", 1)
    assert known.look_up(given) is None and not (tmp_path / "known").exists()
    known.remember(given, known.Known("0" * 16, None, ""))
    assert not (tmp_path / "known").exists()


def test_every_number_format_has_its_own_teacher() -> None:
    """Its answers are kept below its signature: no table holds rows of two formats."""
    formats = ("float32", "bfloat16")
    made = [config("method=kd", f"precision={precision}", "device=cpu") for precision in formats]
    assert len({identity.teacher_signature(one) for one in made}) == 2
    assert len({naming.label_of(one).stage for one in made}) == 2


def test_an_untracked_method_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit in a record says so where a file of the package or the configuration is not in it."""
    for module in (machine, places):
        monkeypatch.setattr(module, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(machine, "home", lambda: tmp_path)
    own = tmp_path / "my_kd"
    monkeypatch.setattr(own_code, "packages", lambda: [own])
    for name in ("package/kd.py", "conf/config.yaml", "my_kd/loss.py", "pyproject.toml", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *arguments], check=True)

    def commit() -> str | None:
        machine._commit.cache_clear()
        return machine.machine(torch.device("cpu")).commit

    clean = commit()
    assert clean is not None and "+" not in clean
    (tmp_path / "notes.txt").write_text("not the package's")
    assert commit() == clean
    for place in (tmp_path / "package", own):
        (place / "wttm.py").write_text("class Wttm: ...")
        assert commit() == f"{clean}+changes"
        (place / "wttm.py").unlink()
    assert commit() == clean
    machine._commit.cache_clear()


def test_own_modules_are_named_by_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own_parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("def half(x):\n    return x / 2\n")
    loss = "from own_parts.helper import half\nfrom .settings import ALPHA\n\n\nclass Loss:\n    use = half\n"
    (folder / "loss.py").write_text(loss)
    (folder / "settings.py").write_text("ALPHA = 1\n")
    (folder / "other.py").write_text("X = 1\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(own_code.VARIABLE, str(folder))
    monkeypatch.setattr(own_code, "_states", {})

    def source() -> str:
        for name in [name for name in sys.modules if name.split(".")[0] == "own_parts"]:
            del sys.modules[name]
        digests.of_source.cache_clear()
        monkeypatch.setattr(own_code, "_loaded", {})
        own_code.load()
        return digests.own_source("own_parts.loss")

    first = source()
    (folder / "other.py").write_text("X = 2\n")
    assert source() == first, "not used by it"
    (folder / "settings.py").write_text("ALPHA = 2\n")
    second = source()
    assert second != first, "a number tells nobody where it came from"
    (folder / "helper.py").write_text("def half(x):\n    return x * 0.5\n")
    assert source() not in (first, second)


@pytest.mark.parametrize("who", ["teacher", "student", "peer"])
def test_an_answer_is_of_the_files_it_was_given_for(who: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    asked = base(f"{who}.checkpoint=weights.pth") | {"paths": {"results": str(tmp_path), "teachers": ""}}
    asked[who] = {**asked[who], "checkpoint": str(file)}
    known.remember(asked, known.Known("0" * 16, None, "kd"))
    assert known.look_up(asked) is not None
    file.write_bytes(b"another")
    assert known.look_up(asked) is None


def test_code_that_changed_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("method=dkd").code == 0
    (record,) = records(tmp_path)
    assert {"distillers.dkd", "training.loop", "networks.resnet", "data.digits"} <= record["code"].keys()
    assert not {"distillers.crd", "networks.vgg", "reporting.tables", "tracking.summary"} & record["code"].keys()
    assert "with other code" not in cli("method=dkd").out
    real = digests.of_source
    monkeypatch.setattr(digests, "of_source", lambda path: "other" if path.name == "dkd.py" else real(path))
    again = cli("method=dkd").out
    assert "already done, but with other code: distillers.dkd changed since; rerun=true repeats it" in again


def test_a_record_knows_its_machine(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=none").code == 0
    machine = records(tmp_path)[0]["machine"]
    assert machine["capability"] and machine["cpu"] and machine["threads"] == 1
    assert {"torch", "numpy", "torchvision"} <= machine["packages"].keys()


def test_signature_is_printed(cli: Cli) -> None:
    first = cli("--signature", "method=dkd", "plug_in=lrds", tiny=False)
    assert first.code == 0
    lines = dict(line.split(maxsplit=1) for line in first.out.splitlines())
    assert lines["signature"] == signature(config("method=dkd", "plug_in=lrds"))
    assert lines["label"].startswith("dkd + lrds on digits, ")
    assert cli("--signature", "method=dkd", "plug_in=lrds", tiny=False).out == first.out
    none = cli("--signature", "method=none", tiny=False)
    assert dict(line.split(maxsplit=1) for line in none.out.splitlines())["teacher"] == "none"


def test_done_is_answered_without_torch(cli: Cli, tmp_path: Path) -> None:
    arguments = ["method=none", "tracking.mode=disabled", "dataset.train_size=200", "recipe.epochs=1"]
    assert cli(*arguments, tiny=False).code == 0
    program = (
        "import sys; sys.argv = ['kd_experiments', *sys.argv[1:]]; from kd_experiments.__main__ import main; "
        "code = main(); assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *arguments, f"paths.results={tmp_path}"]
    environment = {**os.environ, "KD_REAL_PYTHON": "1"}
    again = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr
    assert "already done" in again.stdout and "student" in again.stdout

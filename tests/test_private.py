"""What the suite uses of Hydra, OmegaConf and torch without a promise is where `private.py` says."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from kd_experiments import private
from kd_experiments.places import PACKAGE


def test_every_private_interface_is_still_there() -> None:
    gone = private.missing()
    installed = {package: version(package) for package in private.INTERFACES}
    assert not gone, f"kd_experiments/private.py relies on {', '.join(gone)}; installed are {installed}"


def test_what_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("torch.no_such_module:X", "torch.nn:Module.no_such_method", "torch.nn:Module.forward")
    monkeypatch.setattr(private, "INTERFACES", {"torch": ("2.15.0", names)})
    assert private.missing() == [
        "torch.no_such_module:X (torch 2.15.0)",
        "torch.nn:Module.no_such_method (torch 2.15.0)",
    ]


def test_nobody_else_uses_one() -> None:
    private_use = re.compile(
        r"^\s*(?:from|import) (?:hydra|omegaconf|torch)\.(?:\w+\.)*_[a-z]\w*|\btorch\._[a-z]\w*"
        r"|\._(?:is_none|is_missing|is_interpolation|find_object_source|get_parent|get_node|get_full_key|get_root|shutdown_workers|apply_overrides_to_config)\(",
        re.MULTILINE,
    )
    allowed = {"private.py"}
    found = [
        f"{path.relative_to(PACKAGE)}: {match.group()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in allowed
        for match in private_use.finditer(path.read_text())
    ]
    assert not found, f"put these into kd_experiments/private.py: {found}"

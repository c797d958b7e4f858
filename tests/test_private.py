"""What the suite uses of Hydra, OmegaConf and torch without a promise is where `private.py` says."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from importlib.metadata import version

from kd_experiments.places import PACKAGE

# Package -> the version they were seen in, and `module:attribute`.
INTERFACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "hydra-core": (
        "1.3.2",
        (
            "hydra._internal.core_plugins.basic_sweeper:BasicSweeper.split_arguments",
            "hydra._internal.config_loader_impl:ConfigLoaderImpl._apply_overrides_to_config",
            "hydra._internal.config_loader_impl:ConfigLoaderImpl.load_configuration",
            "hydra._internal.config_loader_impl:ConfigLoaderImpl._load_single_config",
            "hydra._internal.config_repository:ConfigRepository.load_config",
            "hydra._internal.config_repository:ConfigRepository._find_object_source",
            "hydra._internal.config_repository:ConfigRepository.initialize_sources",
            "hydra.core.global_hydra:GlobalHydra.config_loader",
            "hydra.core.override_parser.overrides_parser:OverridesParser.parse_overrides",
        ),
    ),
    "omegaconf": (
        "2.3.0",
        (
            "omegaconf.basecontainer:BaseContainer._get_full_key",
            "omegaconf.base:Container._get_node",
            "omegaconf.base:Node._is_none",
            "omegaconf.base:Node._is_missing",
            "omegaconf.base:Node._is_interpolation",
        ),
    ),
    "torch": (
        "2.15.0",
        (
            "torch.utils.data.dataloader:_MultiProcessingDataLoaderIter._shutdown_workers",
            "torch:_foreach_sub",
            "torch:_foreach_mul_",
            "torch:_foreach_add_",
        ),
    ),
}


def missing(interfaces: Mapping[str, tuple[str, tuple[str, ...]]] = INTERFACES) -> list[str]:
    """Interfaces that are gone, each with the version it was seen in."""
    return [
        f"{name} ({package} {version})"
        for package, (version, names) in interfaces.items()
        for name in names
        if not is_there(name)
    ]


def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_private_interface_is_still_there() -> None:
    gone = missing()
    installed = {package: version(package) for package in INTERFACES}
    assert not gone, f"kd_experiments/private.py relies on {', '.join(gone)}; installed are {installed}"


def test_what_is_gone_is_named() -> None:
    names = ("torch.no_such_module:X", "torch.nn:Module.no_such_method", "torch.nn:Module.forward")
    assert missing({"torch": ("2.15.0", names)}) == [
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

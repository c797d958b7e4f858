"""The configuration that the command line would compose, for code that is not itself a Hydra job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kd_experiments import own_code
from kd_experiments.places import home


def prepare() -> None:
    """Tell Hydra what there is to choose from, in our folders and the user's, and have it refuse what is not."""
    from hydra.core.plugins import Plugins

    from kd_experiments import private
    from kd_experiments.cli import guard
    from kd_experiments.cli.resolvers import OwnFolders, register_networks

    os.environ["KD_EXPERIMENTS_HOME"] = str(home())
    own_code.load()
    register_networks()
    Plugins.instance().register(OwnFolders)
    guard.install()
    private.share_the_store()


@contextmanager
def composer() -> Iterator[None]:
    """Inside, `hydra.compose` knows our configuration folder and the networks."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    prepare()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(home() / "conf"), version_base="1.3"):
        yield


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """All choices and values as plain data, interpolations resolved; raises what Hydra raises."""
    from hydra import compose
    from omegaconf import OmegaConf

    own_code.taken_from(overrides)
    with composer():
        content = OmegaConf.to_container(compose("config", list(overrides)), resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}

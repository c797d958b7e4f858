"""Hydra's search path with the user's own folders; a choice of theirs wins over one of ours with the same name."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from kd_experiments.places import config_folders, home, sweep_folders


class OwnFolders(SearchPathPlugin):
    """Config groups before ours; of the folder that holds `sweeps/`, only that group."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(config_folders()):
            if folder != home() / "conf":
                search_path.prepend("own code", f"file://{folder}")
        for folder in sweep_folders():
            if folder.parent != home():
                search_path.append("own code", f"file://{folder.parent}")

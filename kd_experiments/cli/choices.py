"""What there is to choose from, for people and for shells, off the configuration files; imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kd_experiments import own_code
from kd_experiments.networks.registry import names as network_names
from kd_experiments.places import config_folders, files_below, files_of, sweep_folders

FLAGS = ("--help", "--multirun", "--signature", "--cfg", "--completion")

# Bash ends words at "=", so that only what follows it may be handed over; zsh, through its bashcompinit, wants it all.
SCRIPT = """\
# eval "$(kd-experiments --completion)" in ~/.bashrc or ~/.zshrc
[ -z "$ZSH_VERSION" ] || { autoload -U +X compinit bashcompinit && compinit && bashcompinit; }
_kd_experiments() {
    local line="${COMP_LINE:0:$COMP_POINT}" IFS=$'\\n'
    local word="${line##* }"
    local kept="${word%"${word##*=}"}"
    [ -z "$ZSH_VERSION" ] || kept=
    COMPREPLY=()
    for found in $(kd-experiments --complete "$word"); do COMPREPLY+=("${found#"$kept"}"); done
}
complete -o nospace -F _kd_experiments kd-experiments"""


@dataclass(frozen=True)
class Method:
    """One method file, as the comment at its head describes it."""

    name: str
    about: str
    title: str  # as its paper calls it
    paper: str
    section: str  # by its subject: numbers differ between the versions of a paper
    year: str
    evidence: str


def choices() -> dict[str, list[str]]:
    """Config groups and their choices, in the order a person meets them."""
    own_code.load()
    from_files = ("method", "plug_in", "dataset", "label_noise", "revision", "selection", "weighting", "temperature")
    groups = {group: list(files_of(group)) for group in from_files}
    groups |= {"teacher": network_names(), "student": network_names(), "peer": ["same", *network_names()]}
    for group in ("label_loss", "recipe", "tracking"):
        groups[group] = list(files_of(group))
    groups["experiment"] = list(files_below([folder / "experiment" for folder in config_folders()]))
    groups["+sweeps"] = list(files_below(sweep_folders()))
    return groups


def methods() -> list[Method]:
    """Every method file, by year and name."""
    found = [read_method(path) for path in files_of("method").values()]
    return sorted(found, key=lambda method: (method.year, method.name))


def read_method(path: Path) -> Method:
    """Parse the head of a file: `@package _global_`, what it does, and
    `[Name: ...] Paper: ... [Section: ...] Year: ... Evidence: ...`; nothing is known of a user's file without one.
    """
    lines = path.read_text(errors="replace").splitlines()
    package, about, told, *_ = [*(line.removeprefix("#").strip() for line in lines if line.startswith("#")), "", "", ""]
    pattern = r"(?:Name: (.+?)\. )?Paper: (.+?)\.?(?: Section: (.+)\.)? Year: (\S+)\. Evidence: (.+)"
    head = re.fullmatch(pattern, told)
    if package != "@package _global_" or head is None:
        return Method(path.stem, "Its file does not say what it does.", path.stem, "none", "", "-", "[ours]")
    title, *rest = head.groups(default="")
    return Method(path.stem, about, title or path.stem, *rest)


def candidates(word: str) -> list[str]:
    """Everything that `word`, the last one typed, may become."""
    key, equals, value = word.partition("=")
    known = choices() | {group: list(files_of(group)) for group in ("hydra/launcher", "hydra/sweeper")}
    if equals:
        before, comma, last = value.rpartition(",")  # several values of a multirun
        return [f"{key}={before}{comma}{choice}" for choice in known.get(key, []) if choice.startswith(last)]
    return [one for one in [*(f"{group}=" for group in known), *FLAGS] if one.startswith(word)]

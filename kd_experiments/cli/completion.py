"""What a shell may complete: groups, choices and flags, read off the configuration files; imports nothing heavy."""

from __future__ import annotations

from kd_experiments.cli.choices import choices

FLAGS = ("--help", "--multirun", "--signature", "--cfg", "--completion")

# Bash ends words at "=", so that only what follows it may be handed over. Zsh takes the same through its bashcompinit.
SCRIPT = """\
# eval "$(kd-experiments --completion)" in ~/.bashrc or ~/.zshrc
[ -z "$ZSH_VERSION" ] || { autoload -U +X compinit bashcompinit && compinit && bashcompinit; }
_kd_experiments() {
    local line="${COMP_LINE:0:$COMP_POINT}" IFS=$'\\n'
    local word="${line##* }"
    local kept="${word%"${word##*=}"}"
    COMPREPLY=()
    for found in $(kd-experiments --complete "$word"); do COMPREPLY+=("${found#"$kept"}"); done
}
complete -o nospace -F _kd_experiments kd-experiments"""


def candidates(word: str) -> list[str]:
    """Everything that `word`, the last one typed, may become."""
    key, equals, value = word.partition("=")
    known = choices()
    if equals:
        before, comma, last = value.rpartition(",")  # several values of a multirun
        return [f"{key}={before}{comma}{choice}" for choice in known.get(key, []) if choice.startswith(last)]
    return [one for one in [*(f"{group}=" for group in known), *FLAGS] if one.startswith(word)]

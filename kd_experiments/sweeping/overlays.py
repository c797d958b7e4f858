"""What was laid over a sweep (another setting, other seeds), as the words typed for its runs tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kd_experiments.sweeping.definitions import swept_values

# Words that change where and how a run is made, and nothing of what it is.
UNSAID = ("paths.", "tracking.", "hydra", "+sweeps=", "device=", "threads=", "rerun=", "capture=", "snapshots=",
          "imports=")  # fmt: skip


def overlays(name: str, typed_of_runs: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """What `definitions.outline` takes as `over`, once for every setting that the sweep's runs were made in.

    A key that the file sweeps keeps the file's values, unless some run has another: then it has those of the runs.
    """
    swept = {key: {plain(value): value for value in values} for key, values in swept_values(name).items()}
    settings: dict[tuple[str, ...], dict[str, dict[str, None]]] = {}
    for typed in typed_of_runs:
        values = said(typed)
        if set(swept) <= set(values):  # otherwise it is one run, not one of a sweep
            found = settings.setdefault(beside(swept, typed), {key: {} for key in swept})
            for key in swept:
                found[key][values[key]] = None
    return sorted((*_replaced(swept, found), *same) for same, found in settings.items())


def _replaced(swept: Mapping[str, Mapping[str, str]], found: Mapping[str, Iterable[str]]) -> list[str]:
    others = [key for key in swept if not set(found[key]) <= set(swept[key])]
    return [
        f"{key}={','.join(swept[key].get(value, value) for value in _in_order(list(swept[key]), found[key]))}"
        for key in others
    ]


def said(typed: Sequence[str]) -> dict[str, str]:
    """The words that say what a run is, by their keys."""
    words = (word.split("=", 1) for word in typed if "=" in word and not word.startswith(UNSAID))
    return {key: plain(value) for key, value in words}


def plain(value: str) -> str:
    """A number in one spelling (1, 1.0 and 1e0 are one value of a run), other words as they are."""
    try:
        return f"{float(value):.12g}"
    except ValueError:
        return value


def beside(swept: Iterable[str], typed: Sequence[str]) -> tuple[str, ...]:
    """The words for keys that a sweep's file does not sweep, in alphabetical order."""
    keys = set(swept)
    return tuple(sorted(f"{key}={value}" for key, value in said(typed).items() if key not in keys))


def _in_order(known: Sequence[str], found: Iterable[str]) -> list[str]:
    """The values of the file in its order, then numbers by size, then words."""

    def place(value: str) -> tuple[float, float, str]:
        if value in known:
            return -1.0, known.index(value), ""
        try:
            return 0.0, float(value), ""
        except ValueError:
            return 1.0, 0.0, value

    return sorted(found, key=place)

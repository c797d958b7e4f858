"""Values, command lines and files that nobody thought of: a sentence, never a traceback, never for ever."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_experiments.config import check
from kd_experiments.errors import UserError
from tests.conftest import composed

NASTY = st.one_of(
    st.sampled_from(
        [10**400, -(10**400), 10**21, 2**63, 2**31, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 0, -1, 1, 0.5]
        + [True, None, "", " ", "../..", "/dev/zero", "x" * 5000, "\0", "\n", "\ud800", "é", "=1+1", "<b>", "${x}"]
        + [[], [[]], [None], [10**400], {}, {"name": {}}, {"name": "kd"}, {1: 2}, {None: 1}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.floats() | st.text(max_size=3), max_size=3),
)
CHOICES = ["method=lrds", "method=none", "method=cmd_p", "method=dkd", "method=crd", "selection=tracin"]


def leaves(content: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The way to every key, groups included."""
    found: list[tuple[str, ...]] = []
    for key, value in content.items():
        found.append((*prefix, key))
        if isinstance(value, Mapping):
            found += leaves(value, (*prefix, key))
    return found


def changed(content: dict[str, Any], way: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at the end of the way."""
    content = copy.deepcopy(content)
    place: Any = content
    for key in way[:-1]:
        place = place[key]
        if not isinstance(place, dict):  # an earlier change took the group away
            return content
    place[way[-1]] = value
    return content


@given(st.data())
@settings(max_examples=300)
def test_values_that_nobody_thought_of(data: st.DataObject) -> None:
    content = composed(data.draw(st.sampled_from(CHOICES)))
    for _ in range(data.draw(st.integers(1, 3))):
        content = changed(content, data.draw(st.sampled_from(leaves(content))), data.draw(NASTY))
    try:
        config = check(content)
        for epoch in (0, config.recipe.epochs - 1):
            config.recipe.for_samples(1000).lr_at(epoch, 0, config.recipe.steps_per_epoch(1000))
        config.signature()
    except UserError as error:
        assert 0 < len(str(error)) < 2000 and "\n" not in str(error)

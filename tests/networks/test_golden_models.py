"""The comparison with reference values finds what it should."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden_models import check_network

GOLDEN = Path(__file__).parent.parent / "golden" / "models.json"
RESNET8 = json.loads(GOLDEN.read_text())["resnet8"]


def changed(key: str, value: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RESNET8), key: value}


def test_the_untouched_entry_passes() -> None:
    check_network("resnet8", RESNET8)


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        (changed("parameters", 83_893), "parameters"),
        (changed("state_dict", RESNET8["state_dict"][1:]), "conv1.weight"),
        (
            changed("state_dict", [["conv1.weight", [16, 3, 5, 5]], *RESNET8["state_dict"][1:]]),
            "conv1.weight",
        ),
        (changed("feature_shapes", RESNET8["feature_shapes"][1:]), "feature shapes"),
        (changed("pooled", 65), "embedding"),
        (changed("logits_abs_sum", RESNET8["logits_abs_sum"] * (1 + 3e-9)), "logits_abs_sum"),
        (changed("logits_first5", RESNET8["logits_first5"][::-1]), "logits_first5"),
        (changed("feature_abs_mean", [1.0, *RESNET8["feature_abs_mean"][1:]]), "feature_abs_mean"),
    ],
)
def test_a_wrong_entry_fails(reference: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"resnet8.*{complaint}"):
        check_network("resnet8", reference)


def test_an_unknown_network_fails() -> None:
    with pytest.raises(AssertionError, match="resnet9"):
        check_network("resnet9", RESNET8)

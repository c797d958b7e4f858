"""Data as compressed text that stands inside a page; the browser opens it when it is asked for."""

from __future__ import annotations

import base64
import gzip
import json
import math


def packed(content: object) -> str:
    """JSON, gzip, base64: the same content gives the same text."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def rounded(value: float, digits: int = 5) -> float | int | str:
    """A figure with so many significant digits; JSON has no word for nan and inf, so they become text."""
    if not math.isfinite(value):
        return str(value)
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short

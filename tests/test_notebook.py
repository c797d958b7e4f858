"""docs/notebook.ipynb: every cell runs, in order, in an empty folder; it is kept without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.places import PACKAGE

NOTEBOOK = PACKAGE.parent / "docs" / "notebook.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert content["nbformat"] == 4 and len(cells) >= 6 and NOTEBOOK.stat().st_size < 10_000
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    shown = []
    for cell in cells:
        *body, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), space)
        if isinstance(last, ast.Expr):  # what Jupyter would show
            shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), space))
        else:
            exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), space)
    said = capsys.readouterr().out
    summary, wrong, (confidence, names) = (value for value in shown if value is not None)
    assert sorted(summary["count"]) == [1, 2, 2]
    assert (wrong["wrong"] == 1).all() and len(names) == len(confidence) == 3
    assert "did you mean lrds?" in said and "images were taught" in said
    assert {path.name for path in tmp_path.iterdir()} == {"results"}

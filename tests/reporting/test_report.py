"""The report's page: what it holds, that it holds all of it, and that nothing in a record can act in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.reporting.report import write_report
from kd_experiments.reporting.report.__main__ import main
from kd_experiments.reporting.report.configurations import ABSENT, compact, flat, told_apart
from kd_experiments.reporting.report.details import history, log
from kd_experiments.reporting.report.forest import Compared, forest
from kd_experiments.reporting.report.limits import limits
from kd_experiments.reporting.report.packing import packed, rounded
from kd_experiments.reporting.report.pictures import pictures
from kd_experiments.reporting.statistics import Difference
from tests.reporting.synthetic import write_records

HOSTILE = "</script><script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"


def change(folder: Path, **changes: Any) -> None:
    """Rewrite some keys of a record."""
    record = json.loads((folder / "record.json").read_text()) | changes
    (folder / "record.json").write_text(json.dumps(record))


def fail(folder: Path, error: str, last_line: str) -> None:
    change(folder, status="failed", error=error, metrics={}, timing={})
    (folder / "run.log").write_text(f"first line\n{last_line}\n")


def run_folders(results: Path) -> list[Path]:
    return sorted((results / "runs").iterdir())


class Page(HTMLParser):
    """The page's elements, its packed data opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.addresses: list[str] = []
        self.scripts: list[dict[str, str]] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.inside = False  # a script
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.addresses += [found[name] for name in ("src", "href", "action", "data") if name in found]
        self.handlers += [name for name in found if name.startswith("on")]
        if tag == "script":
            self.scripts.append(found | {"text": ""})
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]

        self.inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1]["text"] += data

    def data(self, name: str) -> Any:
        text = next(script["text"] for script in self.scripts if script.get("id") == name)
        return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty synthetic runs: two methods of a setting whole, one failed, one unfinished, one unreadable."""
    results = tmp_path_factory.mktemp("results")
    write_records(results, 30)
    failed, running, unreadable = run_folders(results)[:3]
    fail(failed, f"Traceback ...\nRuntimeError: {HOSTILE}", HOSTILE)
    change(running, status="running", metrics={}, timing={})
    (unreadable / "record.json").write_text("{")
    (results / "figures").mkdir()
    (results / "figures" / "one-data0.4.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (results / "figures" / "one-data0.4.png").write_bytes(b"png")
    (results / "figures" / "two.png").write_bytes(b"png")
    return results


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return Page(write_report(results).path)


def test_without_any_run_the_page_says_how_to_make_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"paths.results={tmp_path}"]) == 0
    assert "0 runs, 0 tables, 0 figures" in capsys.readouterr().out
    text = (tmp_path / "report" / "index.html").read_text()
    assert "python -m kd_experiments --multirun" in text
    assert "make figures" in text


def test_a_mistyped_key_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path.results=x"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: path.results: no such key; did you mean paths.results? (keys: paths.results)"
    ]


def test_every_run_is_listed_with_its_configuration_history_and_log(results: Path, page: Page) -> None:
    index, details = page.data("data-index"), page.data("data-details-0")
    columns = index["columns"]
    assert columns["signature"] == [folder.name for folder in run_folders(results)]
    assert len(details) == 30
    for place, folder in enumerate(run_folders(results)[3:], start=3):
        record = json.loads((folder / "record.json").read_text())
        assert columns["method"][place] == record["config"]["method"]["name"]
        assert columns["top1"][place] == pytest.approx(record["metrics"]["test_top1_last"], rel=1e-6)
        own = {key: value for key, value in flat(record["config"]).items() if not key.startswith("paths")}
        assert {"seed": str(columns["seed"][place])} | configuration(index, place) == own
        facts = details[place]["facts"]
        assert facts["metrics.test_nll_last"] == pytest.approx(record["metrics"]["test_nll_last"], rel=1e-6)
        lines = (folder / "history.csv").read_text().splitlines()
        assert details[place]["history"]["of"] == len(lines) - 1
        last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
        drawn = {name: values[-1] for name, values in details[place]["history"]["columns"].items()}
        assert drawn == pytest.approx({name: float(value) for name, value in last.items()}, rel=1e-4)
        assert details[place]["log"] == {"text": (folder / "run.log").read_text(), "left_out": 0}


def configuration(index: dict[str, Any], place: int) -> dict[str, str]:
    """As the page's script puts it together."""
    configs, config = index["configs"], {}
    for pairs in (configs["common"], configs["unlike"][index["columns"]["config"][place]]):
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            config[configs["keys"][key]] = configs["values"][value]
    return {key: value for key, value in config.items() if value != configs["absent"]}


def test_what_is_not_complete_is_told_with_reason_and_log(results: Path, page: Page) -> None:
    failed, running, unreadable = run_folders(results)[:3]
    index, details = page.data("data-index"), page.data("data-details-0")
    assert index["columns"]["status"][:3] == ["failed", "running", "unreadable"]
    assert index["columns"]["reason"][0] == f"RuntimeError: {HOSTILE}"
    assert details[0]["error"].startswith("Traceback ...")
    assert details[2]["error"].endswith("not a record of this program")
    for folder in (failed, running, unreadable):
        assert f"<code>runs/{folder.name}/run.log</code>" in page.text
    assert '<li class="failed"><b>1</b> failed</li>' in page.text
    assert '<li class="complete"><b>27</b> complete</li>' in page.text


def test_nothing_in_a_record_can_act_and_nothing_is_fetched(page: Page) -> None:
    acting = [script for script in page.scripts if script.get("type") != "application/octet-stream"]
    assert len(acting) == 1
    assert page.handlers == []
    assert HOSTILE not in page.text
    assert "&lt;/script&gt;&lt;script&gt;" in page.text  # the reason, as text
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert not re.search(r"@import|url\(", page.text[: page.text.index("</style>")])
    digest = base64.b64encode(hashlib.sha256(acting[0]["text"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:;")


def test_a_method_may_be_called_anything(tmp_path: Path) -> None:
    write_records(tmp_path, 2)
    for folder in run_folders(tmp_path):
        record = json.loads((folder / "record.json").read_text())
        record["config"]["method"]["name"] = HOSTILE
        (folder / "record.json").write_text(json.dumps(record))
    page = Page(write_report(tmp_path).path)
    assert HOSTILE not in page.text
    assert page.data("data-index")["columns"]["method"] == [HOSTILE, HOSTILE]


def test_the_same_records_give_the_same_bytes(results: Path, page: Page) -> None:
    assert write_report(results).path.read_text(encoding="utf-8") == page.text


def test_headline_counts_intervals_and_names_the_power(tmp_path: Path) -> None:
    write_records(tmp_path, 25)  # none, kd, three of lrds, five seeds each
    text = re.sub(r"\s+", " ", Page(write_report(tmp_path).path).text)
    assert "Of 4 differences to the reference of their setting," in text
    assert "(n=5)</td>" in text
    assert text.count('<circle class="clear"') + text.count('<circle class="open"') == 4


def test_figures_are_embedded_vector_first(results: Path, page: Page) -> None:
    found = {picture.name: picture for picture in pictures(results / "figures")}
    assert set(found) == {"one-data0.4", "two"}
    drawing = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    assert (found["one-data0.4"].drawing, found["one-data0.4"].address) == (drawing, "")
    assert page.data("data-figures") == {"one-data0.4": drawing}
    assert found["two"].address == "data:image/png;base64," + base64.b64encode(b"png").decode()
    assert {picture.address for picture in found.values() if picture.address} <= set(page.addresses)


def test_a_figure_that_finds_no_room_is_named(results: Path) -> None:
    taken = pictures(results / "figures", room=10)
    shown = {picture.name: bool(picture.drawing or picture.address) for picture in taken}
    assert shown == {"one-data0.4": False, "two": True}
    assert taken[0].file == "one-data0.4.svg"


def test_a_long_history_keeps_its_ends_and_evaluated_epochs(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    rows = [f"{epoch}.0,{1 / (epoch + 1)},{epoch if epoch % 2 else ''}" for epoch in range(240)]
    path.write_text("\n".join(["epoch,loss,test_top1", *rows]) + "\n")
    short, whole = history(path, 20), history(path, 240)
    assert short is not None and whole is not None
    assert short["of"] == whole["of"] == 240
    assert len(short["columns"]["epoch"]) == 20
    assert (short["columns"]["epoch"][0], short["columns"]["epoch"][-1]) == (1, 239)
    assert short["columns"]["test_top1"] == short["columns"]["epoch"]
    assert whole["columns"]["test_top1"][:2] == [None, 1]
    assert whole["columns"]["loss"][2] == 0.33333


def test_a_history_cut_off_in_its_last_line_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss\n0.0,nan\n1.0,")
    assert history(path, 10) == {"of": 2, "columns": {"epoch": [0, 1], "loss": ["nan", None]}}
    path.write_text("epoch,loss\n0.0,2\n1")
    assert history(path, 10) == {"of": 1, "columns": {"epoch": [0], "loss": [2]}}
    assert history(tmp_path / "none.csv", 10) is None


def test_a_long_log_keeps_beginning_and_end(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = [f"line {number}" for number in range(1000)]
    path.write_text("\n".join(lines))
    cut = log(path, 400)
    assert cut is not None
    assert cut["text"].startswith("line 0\n") and cut["text"].endswith("\nline 999")
    assert f"{cut['left_out']:,} characters left out" in cut["text"]
    assert len(cut["text"]) < 500
    assert log(tmp_path / "none.log", 10) is None


def test_ten_thousand_runs_get_room_that_fits() -> None:
    few, many = limits(3), limits(10_000)
    assert few.epochs >= 240
    assert many.epochs * 10_000 <= 250_000 and many.log * 10_000 <= 20_000_000
    assert many.failed_log > many.log


def test_configurations_come_back_from_what_sets_them_apart() -> None:
    configs = [
        {"method.name": "kd", "a": "1"}, {"method.name": "kd", "a": "2"}, {"method.name": "x", "b": "1", "a": "1"},
    ]  # fmt: skip
    told = compact(configs)
    for config, pairs in zip(configs, told["unlike"], strict=True):
        restored = {}
        for part in (told["common"], pairs):
            for key, value in zip(part[::2], part[1::2], strict=True):
                restored[told["keys"][key]] = told["values"][value]
        assert {key: value for key, value in restored.items() if value != ABSENT} == config
    assert len(told["values"]) == len(set(told["values"]))


def test_runs_are_told_apart_by_what_is_not_shown_already() -> None:
    def config(method: str, data: str, ratio: str, epochs: str) -> dict[str, str]:
        return {"method.name": method, "dataset.name": data, "classes": f"of {data}", "ratio": ratio, "epochs": epochs}

    configs = [config("lrds", "a", ".4", "9"), config("lrds", "a", ".6", "9"), config("lrds", "b", ".4", "9")]
    configs.append(config("kd", "a", "-", "1"))
    assert told_apart(configs, ["dataset.name"]) == ["ratio=.4", "ratio=.6", "ratio=.4", ""]


def test_a_difference_stands_where_it_belongs() -> None:
    drawn = forest(
        [
            Compared("up", Difference(1.0, 0.5, 1.5, 3), True),
            Compared("even", Difference(0.0, -1.0, 1.0, 3), False),
            Compared("single", Difference(-1.0, float("nan"), float("nan"), 1), False),
        ]
    )
    assert drawn is not None
    up, even, single = drawn.marks
    assert even.x == drawn.zero and not even.clear
    assert up.low is not None and drawn.zero < up.low < up.x and up.clear and up.text == "+1.00 [+0.50, +1.50] *"
    assert single.low is None and single.x < drawn.zero and not single.clear and single.text == "−1.00"
    assert forest([]) is None


def test_figures_are_short_and_packed_text_is_stable() -> None:
    assert [rounded(value) for value in (12.0, 1 / 3, 123456.7)] == [12, 0.33333, 123460]
    assert rounded(float("nan")) == "nan"
    assert packed({"ä": [1, None]}) == packed({"ä": [1, None]})
    assert json.loads(gzip.decompress(base64.b64decode(packed({"ä": 1})))) == {"ä": 1}

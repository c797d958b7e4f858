"""The report opened and clicked through in a real browser: Debian's chromium and chromium-driver."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kd_experiments.reporting.figures.style import house_style, save
from kd_experiments.reporting.report import write_report
from tests.conftest import Cli
from tests.reporting.synthetic import write_records
from tests.reporting.test_report import HOSTILE, fail, run_folders

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("needs Debian's packages chromium and chromium-driver", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs the Python package selenium")
pytestmark = pytest.mark.slow

from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1280,900",
)  # fmt: skip


class Browser:
    """A page of the report and what the browser said about it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.driver.get("about:blank")
        self.driver.get_log("performance")  # what the browser's own first page asked for
        self.driver.get_log("browser")
        self.driver.get(path.resolve().as_uri())

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def click(self, element: Any) -> None:
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector: str, text: str) -> None:
        self.find(selector).send_keys(Keys.CONTROL, "a", Keys.NULL, text or Keys.DELETE)

    def until(self, holds: Callable[[], object], what: str) -> None:
        try:
            WebDriverWait(self.driver, 60, 0.05).until(lambda _: holds())
        except TimeoutException:
            pytest.fail(f"{what}; the page says: {self.find('#complaint').text or 'nothing'}")

    def rows(self) -> int:
        return len(self.all("#run-list tbody tr"))

    def quiet(self) -> None:
        """Neither a complaint on the console nor anything asked of a network."""
        assert self.driver.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        assert asked and all(url.startswith(("file:", "data:")) for url in asked)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def test_real_runs_are_read_sorted_opened_and_compared(cli: Cli, tmp_path: Path, browser: Browser) -> None:
    assert cli("--multirun", "method=none,kd", "seed=0,1").code == 0
    (tmp_path / "figures").mkdir()
    with house_style():
        save(Figure(), tmp_path / "figures" / "one-digits")
    browser.open(write_report(tmp_path).path)
    browser.until(lambda: browser.rows() == 4, "four runs are listed")

    (image,) = browser.all("#figures img")
    width = "return arguments[0].complete && arguments[0].naturalWidth && arguments[0].getBoundingClientRect().width"
    browser.until(lambda: browser.driver.execute_script(width, image) > 100, "the figure is seen")

    sort_by_keyboard_and_mouse(browser)
    filter_tables(browser)
    open_a_run_and_go_back(browser, tmp_path)
    compare_two_runs(browser)
    browser.quiet()


def sort_by_keyboard_and_mouse(browser: Browser) -> None:
    table = browser.find("details.result table")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    head = next(head for head in heads if head.text.startswith("top-1, last epoch"))

    def column() -> list[float]:
        cells = table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({heads.index(head) + 1})")
        return [float(cell.get_attribute("data-value")) for cell in cells]

    original = column()
    browser.click(head.find_element(By.TAG_NAME, "button"))
    assert head.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(original)
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(original, reverse=True)
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "none"
    assert column() == original


def filter_tables(browser: Browser) -> None:
    browser.type("#table-filter", "none")
    rows = [row for row in browser.all("details.result tbody tr") if row.is_displayed()]
    assert rows and all("none" in row.text for row in rows)
    browser.type("#table-filter", "")
    assert len([row for row in browser.all("details.result tbody tr") if row.is_displayed()]) > len(rows)


def open_a_run_and_go_back(browser: Browser, results: Path) -> None:
    browser.type("#run-filter", "method.name=kd seed=1")
    browser.until(lambda: browser.rows() == 1, "one run is left")
    browser.click(browser.find("#run-list tbody a"))
    browser.until(lambda: browser.all("#log"), "the run is shown")
    assert not browser.find("#report").is_displayed()
    name = browser.driver.current_url.rpartition("=")[2]
    assert browser.find("#log").text.split() == (results / "runs" / name / "run.log").read_text().split()
    configuration = {row.text for row in browser.all("#configuration tr")}
    assert any(line.startswith("≠ seed 1") or line == "seed 1" for line in configuration)
    assert any("method.distiller kd" in line for line in configuration)
    curve = browser.find("#curves .chart path.line").get_attribute("d")
    assert curve.count("L") == 1  # two epochs
    browser.driver.back()
    browser.until(lambda: browser.find("#report").is_displayed(), "the report is back")
    assert browser.rows() == 1  # still filtered
    browser.type("#run-filter", "")


def compare_two_runs(browser: Browser) -> None:
    for words in ("method.name=none seed=0", "method.name=kd seed=0"):
        browser.type("#run-filter", words)
        browser.until(lambda: browser.rows() == 1, "one run is left")
        browser.click(browser.find("#run-list tbody input"))
    browser.click(browser.find("#compare"))
    browser.until(lambda: browser.all("#differences"), "the comparison is shown")
    rows = {cells[0]: cells[1:] for cells in (row.text.split() for row in browser.all("#differences tbody tr"))}
    assert rows["method.name"] == ["none", "kd"]
    assert "seed" not in rows and "student.network" not in rows
    few = len(rows)
    browser.click(browser.find("#show-equal"))
    assert len(browser.all("#differences tbody tr")) > few
    browser.click(browser.find("#back"))
    browser.until(lambda: browser.find("#runs").is_displayed(), "the report is back")


def test_without_runs_the_page_opens(tmp_path: Path, browser: Browser) -> None:
    browser.open(write_report(tmp_path).path)
    assert "No run yet" in browser.find("#overview").text
    assert not browser.find("#complaint").is_displayed()
    browser.quiet()


def test_what_failed_is_readable_and_nothing_hostile_runs(tmp_path: Path, browser: Browser) -> None:
    write_records(tmp_path, 4)
    hostile, failed = run_folders(tmp_path)[:2]
    record = json.loads((hostile / "record.json").read_text())
    record["config"]["method"]["name"] = HOSTILE
    (hostile / "record.json").write_text(json.dumps(record))
    (hostile / "run.log").write_text(HOSTILE)
    fail(failed, f"RuntimeError: {HOSTILE}", "and then it ended")
    browser.open(write_report(tmp_path).path)
    browser.until(lambda: browser.rows() == 4, "four runs are listed")
    browser.click(browser.find(f"#overview a[href='#run={failed.name}']"))
    browser.until(lambda: browser.all("#error"), "the failed run is shown")
    assert HOSTILE in browser.find("#error").text
    assert browser.find("#log").text.endswith("and then it ended")
    browser.driver.execute_script(f"location.hash = '#run={hostile.name}'")
    browser.until(lambda: HOSTILE in browser.find("#view h1").text, "the hostile run is shown as text")
    assert browser.find("#log").text == HOSTILE
    assert browser.driver.title != "caught"
    assert browser.driver.execute_script("return document.querySelectorAll('#view img, #view script').length") == 0
    browser.driver.execute_script("location.hash = '#run=nothing'")
    browser.until(lambda: "no run nothing" in browser.find("#complaint").text, "a wrong address is told")
    browser.quiet()


def test_ten_thousand_runs_open_and_answer(tmp_path: Path, browser: Browser) -> None:
    write_records(tmp_path, 10_000)
    report = write_report(tmp_path)
    assert report.runs == 10_000
    assert report.path.stat().st_size < 50e6
    browser.open(report.path)
    browser.until(lambda: browser.rows() == 50, "the first page of runs is listed")
    assert browser.find("#run-count").text == "10,000 runs"
    browser.type("#run-filter", "reviewkd cifar100 recipe.epochs=240 seed=3")
    browser.until(lambda: browser.find("#run-count").text == "10 of 10,000 runs", "the filter answers")
    browser.click(browser.find("#run-list tbody a"))
    browser.until(lambda: browser.all("#log"), "a run is shown")
    assert "reviewkd, seed 3" in browser.find("#view h1").text
    assert len(browser.all("#curves .chart")) > 5
    browser.quiet()

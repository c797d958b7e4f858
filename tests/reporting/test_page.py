"""The page opened and used in a real browser, by mouse and by keyboard: Debian's chromium and chromium-driver."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_experiments.reporting.__main__ import main
from tests.conftest import PATIENCE
from tests.reporting.synthetic import many, record, write

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("needs Debian's packages chromium and chromium-driver", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs the Python package selenium")

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.slow

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--no-first-run", "--disable-sync", "--disable-component-update", "--window-size=1280,900")  # fmt: skip
HOSTILE = "<img src=x onerror=\"document.title='caught'\"></script><script>document.title='caught'</script>"


class Browser:
    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.resolve().as_uri())

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def until(self, holds: Callable[[], object]) -> None:
        WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: holds())

    def type(self, selector: str, text: str) -> None:
        self.find(selector).send_keys(Keys.CONTROL, "a", Keys.NULL, text or Keys.DELETE)

    def quiet(self) -> None:
        """Neither a complaint on the console nor anything asked of a network."""
        assert self.driver.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        assert asked and all(url.startswith(("file:", "data:")) for url in asked)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.command_executor.client_config.timeout = PATIENCE
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def test_a_page_is_read_sorted_filtered_and_compared(tmp_path: Path, browser: Browser) -> None:
    made = [record(method, seed, typed=(f"method={method}", f"seed={seed}"))
            for method in ("none", "kd", "lrds") for seed in range(2)]  # fmt: skip
    made += [record("kd", 0, noise=0.4), record(HOSTILE, 0, status="failed", error=f"RuntimeError: {HOSTILE}")]
    write(tmp_path, *made)
    assert main([f"paths.results={tmp_path}"]) == 0
    browser.open(tmp_path / "report" / "index.html")
    browser.until(lambda: len(browser.all("#run-list tbody tr")) == 8)
    heads = [head.text for head in browser.all("#run-list thead th")]
    assert "images" in heads and "epochs" in heads
    assert all(
        image.get_attribute("alt") and image.get_property("naturalWidth") > 0 for image in browser.all("figure img")
    )

    # A table, by keyboard alone.
    table = browser.find("#overview table.sortable")
    head = table.find_elements(By.CSS_SELECTOR, "thead th")[2]

    def column() -> list[str]:
        return [
            cell.get_attribute("data-value") for cell in table.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(3)")
        ]

    original = column()
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending" and column() == sorted(original, key=float)
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending" and column() == sorted(original, key=float, reverse=True)
    assert browser.find("#overview .wide").get_attribute("tabindex") == "0"
    browser.type("#table-filter", "lrds")
    assert [row for row in browser.all("details.result tbody tr") if row.is_displayed()]
    assert all("LRDS" in row.text for row in browser.all("details.result tbody tr") if row.is_displayed())

    # A run, and back.
    browser.type("#run-filter", "kd seed=1 recipe.epochs=20")
    browser.until(lambda: browser.find("#run-count").text == "1 of 8 runs")
    browser.find("#run-list tbody a").send_keys(Keys.ENTER)
    browser.until(lambda: browser.all("#log"))
    assert (
        "kd, dataset.split_seed=0, seed=1" in browser.find("#view h1").text and len(browser.all("#curves .chart")) >= 2
    )
    assert "python -m kd_experiments method=kd seed=1 rerun=true" in browser.find("#view pre").text
    browser.driver.back()
    browser.until(lambda: browser.find("#all").is_displayed())

    # Two runs ticked and compared, by keyboard alone: what is ticked keeps the focus.
    browser.type("#run-filter", "")
    browser.until(lambda: len(browser.all("#run-list tbody tr")) == 8)
    for box in browser.all("#run-list tbody input")[:2]:
        browser.driver.execute_script("arguments[0].focus()", box)
        browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
        assert browser.driver.switch_to.active_element == box and box.is_selected()
    browser.find("#compare").send_keys(Keys.ENTER)
    browser.until(lambda: browser.find("#view h1").text == "Two runs")
    browser.driver.back()
    browser.until(lambda: browser.find("#all").is_displayed())

    # Two runs whose settings differ.
    both = [one["signature"] for one in (made[2], made[6])]
    browser.driver.execute_script(f"location.hash = 'compare={','.join(both)}'")
    browser.until(lambda: browser.all("#view .warning"))
    assert "settings differ" in browser.find("#view .warning").text
    alike = [one["signature"] for one in (made[0], made[2])]
    browser.driver.execute_script(f"location.hash = 'compare={','.join(alike)}'")
    browser.until(lambda: not browser.all("#view .warning"))

    # Nothing hostile runs.
    browser.driver.execute_script(f"location.hash = 'run={made[7]['signature']}'")
    browser.until(lambda: browser.all("#error"))
    assert HOSTILE in browser.find("#error").text and browser.driver.title != "caught"
    browser.driver.execute_script("location.hash = 'run=nothing'")
    browser.until(lambda: "no run nothing" in browser.find("#complaint").text)
    browser.quiet()


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_page_is_wider_than_its_window(tmp_path: Path, browser: Browser, width: int) -> None:
    write(tmp_path, *(record(method, seed) for method in ("none", "kd", "lrds") for seed in range(2)))
    assert main([f"paths.results={tmp_path}"]) == 0
    facts = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", facts)
    browser.open(tmp_path / "report" / "index.html")
    browser.until(lambda: len(browser.all("#run-list tbody tr")) == 6)
    assert browser.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    first, second = browser.all("#overview tbody tr:nth-child(2) > *")[:2]
    assert first.rect["x"] + first.rect["width"] <= second.rect["x"] + 1


def test_ten_thousand_runs_make_a_page_that_answers(tmp_path: Path, browser: Browser) -> None:
    seconds = []
    for count in (2_000, 10_000):  # a minute is for a machine with nothing else to do: here, that nothing is quadratic
        write(tmp_path, *many(count))
        begun = time.process_time()
        assert main([f"paths.results={tmp_path}"]) == 0
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 12 * seconds[0]
    page = tmp_path / "report" / "index.html"
    assert page.stat().st_size < 20e6
    browser.open(page)
    browser.until(lambda: browser.find("#run-count").text == "10,000 runs")
    browser.type("#run-filter", "reviewkd cifar10 recipe.epochs=240 seed=3")
    browser.until(lambda: " of 10,000 runs" in browser.find("#run-count").text)
    browser.find("#run-list tbody a").send_keys(Keys.ENTER)
    browser.until(lambda: browser.all("#log"))
    browser.quiet()

# SPDX-License-Identifier: GPL-2.0-only
"""The HTML report in a real browser: by keyboard and mouse, on a desk and on a phone, with a thousand findings."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from dmamigrate.findings import Category, Level
from dmamigrate.report import html
from dmamigrate.report.places import View
from tests.conftest import ROOT
from tests.test_cli import run
from tests.test_formats import finding, report

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("NO CHROMIUM: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    run("scan", "fixtures", "--format", "html", "-o", file, cwd=ROOT)
    return file.as_uri()


def _opened(browser: webdriver.Chrome, page: str, width: int = 1280) -> list[WebElement]:
    browser.set_window_size(width, 900)
    browser.get("about:blank")
    browser.get(page)
    return browser.find_elements(By.CSS_SELECTOR, "#findings > tbody")


def _shown(browser: webdriver.Chrome) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, "#findings > tbody:not([hidden])"))


def test_it_asks_for_nothing_and_complains_of_nothing(browser: webdriver.Chrome, page: str) -> None:
    assert len(_opened(browser, page)) > 50
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_it_filters_by_keyboard(browser: webdriver.Chrome, page: str) -> None:
    everything = len(_opened(browser, page))
    browser.switch_to.active_element.send_keys("/")
    browser.switch_to.active_element.send_keys("unmap-wrong-handle physical-address")
    assert _shown(browser) == 1
    assert browser.find_element(By.ID, "count").text == f"1 of {everything}"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert _shown(browser) == everything


def test_the_overview_filters(browser: webdriver.Chrome, page: str) -> None:
    everything = len(_opened(browser, page))
    button = browser.find_element(By.CSS_SELECTOR, "button[data-value='defect']")
    button.send_keys(Keys.ENTER)
    assert 0 < _shown(browser) < everything
    assert button.get_attribute("aria-pressed") == "true"
    assert int(button.find_element(By.TAG_NAME, "b").text) == _shown(browser)


def test_it_sorts_by_keyboard_both_ways(browser: webdriver.Chrome, page: str) -> None:
    _opened(browser, page)
    button = browser.find_element(By.CSS_SELECTOR, "button[data-sort='path']")
    for way in ("ascending", "descending"):
        button.send_keys(Keys.ENTER)
        paths = [one.get_attribute("data-path") for one in browser.find_elements(By.CSS_SELECTOR, "#findings > tbody")]
        assert paths == sorted(paths, reverse=way == "descending")
        assert browser.find_element(By.CSS_SELECTOR, f"th[aria-sort='{way}']")


def test_a_finding_unfolds_by_keyboard_and_by_its_address(browser: webdriver.Chrome, page: str) -> None:
    first = _opened(browser, page)[0]
    first.find_element(By.CSS_SELECTOR, ".fold").send_keys(Keys.SPACE)
    assert first.find_element(By.CSS_SELECTOR, ".detail").is_displayed()
    last = browser.find_elements(By.CSS_SELECTOR, "#findings > tbody")[-1].get_attribute("id")
    _opened(browser, f"{page}#{last}")
    assert browser.find_element(By.CSS_SELECTOR, f"[id='{last}'] .detail").is_displayed()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(browser: webdriver.Chrome, page: str, width: int) -> None:
    # a window of chromium is never as narrow as a phone; its pages can be
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        _opened(browser, page)
        browser.find_element(By.ID, "unfold").click()
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser: webdriver.Chrome, page: str, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    _opened(browser, page)
    colours = browser.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    light = [sum(int(part) for part in colour[4:-1].split(",")) for colour in colours]
    assert (light[0] < light[1]) == (scheme == "light")
    assert abs(light[0] - light[1]) > 500


def test_paper_shows_the_details(browser: webdriver.Chrome, page: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        first = _opened(browser, page)[0]
        assert first.find_element(By.CSS_SELECTOR, ".detail").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_thousand_findings_are_filtered_without_a_wait(browser: webdriver.Chrome, tmp_path: Path) -> None:
    many = [
        dataclasses.replace(
            finding(f"drivers/foo/foo{number}.c"), fingerprint=f"{number:016x}",
            category=Category.DEFECT if number % 3 else Category.MIGRATION, level=list(Level)[number % 3],
        )
        for number in range(1000)
    ]  # fmt: skip
    file = tmp_path / "many.html"
    file.write_text(html.render(report(*many), View(folder="/no/such/tree")))
    assert len(_opened(browser, file.as_uri())) == 1000
    browser.find_element(By.ID, "filter").send_keys("foo99")
    assert _shown(browser) == 11
    spent = browser.execute_script(
        "const from = performance.now(); const box = document.getElementById('filter'); box.value = '';"
        "box.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - from"
    )
    print(f"1,000 findings: {file.stat().st_size:,} bytes, all shown again after {spent:.0f} ms")

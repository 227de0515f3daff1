"""A real, headless Chromium (Debian: chromium, chromium-driver), and the axe-core of npm."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest


def chromium(downloads: Path, wide: int = 1320, high: int = 1000):
    """A browser; skips loudly where there is none."""
    selenium = pytest.importorskip("selenium", reason="PAGE NOT TESTED IN A BROWSER: selenium is not installed")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("PAGE NOT TESTED IN A BROWSER: no chromium with chromedriver here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--window-size={wide},{high}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    assert selenium
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_script_timeout(60)
    return browser


def opened(browser, page: Path) -> None:
    """Open a page from the file system and wait until its viewer is ready."""
    browser.get(page.as_uri())
    wait(lambda: browser.execute_script("return /ready|no-viewer/.test(document.body.className)"))
    assert "ready" in browser.execute_script("return document.body.className"), browser.execute_script(
        "return document.getElementById('readout').textContent"
    )


def wait(true, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.05)


def requests(browser) -> list[str]:
    """Addresses that the page asked for, the page itself left out."""
    sent = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            sent.append(message["params"]["request"]["url"])
    assert any(url.startswith("file:") for url in sent), "the browser's log does not even hold the page itself"
    return [url for url in sent if not url.startswith(("file:", "data:", "blob:", "chrome", "about:"))]


def axe_source(cache: Path) -> str:
    """axe-core's script; skips loudly where npm cannot bring it."""
    script = cache / "node_modules/axe-core/axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("ACCESSIBILITY NOT TESTED: no npm to bring axe-core")
        try:
            subprocess.run(
                [npm, "install", "--silent", "axe-core@4"], cwd=cache, check=True, capture_output=True, timeout=120
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"ACCESSIBILITY NOT TESTED: axe-core not installable ({error})")
    return script.read_text(encoding="utf-8")

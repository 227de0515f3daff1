"""The page in a real browser, from the file system."""

import json

import numpy as np
import pytest
from builders.browser import axe_source, chromium, opened, requests, wait
from builders.results import GRID, TYPICAL, Spot, result

from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import mask_path, output_folder, write_result
from deeppsma.reporting.apply_review import apply_review
from deeppsma.reporting.content import BANNER, report_content
from deeppsma.reporting.html import report_html
from deeppsma.reporting.report_files import Report, write_report

pytestmark = pytest.mark.browser

SPOTS = {
    Tracer.PSMA: [*TYPICAL[Tracer.PSMA], Spot((46, 30, 40), (3, 3, 3), 7.0, found=False)],
    Tracer.FDG: TYPICAL[Tracer.FDG],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    case = result(SPOTS, with_ct=True)
    with output_folder(out) as staging:
        run_report = dict(case.run_report)
        write_result(staging, out, {t: scan.mask for t, scan in case.scans.items()}, run_report)
    write_report(Report(report_content(case)), out)
    return out


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chrome(downloads):
    browser = chromium(downloads)
    yield browser
    browser.quit()


@pytest.fixture
def page(chrome, folder):
    chrome.get("about:blank")
    chrome.get_log("performance"), chrome.get_log("browser")
    opened(chrome, folder / "report.html")
    yield chrome
    chrome.execute_script("window.onbeforeunload = null")
    errors = [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"]
    assert errors == []
    assert requests(chrome) == []


def voxel(browser):
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    return [int(v) for v in browser.execute_script("return document.body.dataset.voxel").split()]


def data(browser):
    return json.loads(browser.execute_script("return document.getElementById('data').textContent"))


def by_id(browser, lesion):
    content = data(browser)
    return next(x for x in [*content["lesions"], *content["candidates"]] if x["id"] == lesion)


def click(browser, css):
    browser.execute_script("arguments[0].click()", browser.find_element("css selector", css))


def press(browser, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(key).perform()


def text(browser, css):
    return browser.execute_script("return document.querySelector(arguments[0]).textContent", css)


def test_opens_from_the_file_system_with_pictures(page):
    assert float(page.execute_script("return document.body.dataset.readyMs")) < 10000
    for name in ("mip", "coronal", "sagittal", "axial"):
        for tracer in ("psma", "fdg"):
            shades = page.execute_script(
                "const c = document.getElementById(arguments[0]), pen = c.getContext('2d');"
                "return new Set(pen.getImageData(0, 0, c.width, c.height).data).size",
                f"{name}-{tracer}",
            )
            assert shades > 5, name


def test_the_cross_hair_goes_to_the_lesion_of_the_row(page):
    for lesion in ("F2", "P1", "PX1"):
        click(page, f"[data-go={lesion}]")
        assert voxel(page) == by_id(page, lesion)["voxel"]
        assert lesion in text(page, "#readout") or lesion == "PX1"
    assert page.execute_script("return document.querySelectorAll('tr.chosen').length") >= 1


def test_a_click_in_the_projection_goes_to_the_voxel_that_made_it(page):
    from selenium.webdriver.common.action_chains import ActionChains

    click(page, "[data-go=P2]")
    content = data(page)
    target = by_id(page, "P1")["voxel"]
    nz, ny, nx = content["grid"]["shape"]
    wide = int(np.ceil(np.hypot(nx, ny))) + 1
    u = round((wide - 1) / 2 + target[2] - (nx - 1) / 2)
    canvas = page.find_element("id", "mip-psma")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    # Selenium counts from the middle.
    dx = (u + 0.5) / wide * size["width"] - size["width"] / 2
    dy = (nz - target[0] - 0.5) / nz * size["height"] - size["height"] / 2
    ActionChains(page).move_to_element_with_offset(canvas, int(dx), int(dy)).click().perform()
    z, _, x = voxel(page)
    assert abs(z - target[0]) <= 1
    assert abs(x - target[2]) <= 1
    assert "P1" in text(page, "#readout")
    assert page.execute_script("return document.querySelector('#row-P1').classList.contains('chosen')")


def test_a_click_in_a_slice_moves_the_others(page):
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = page.find_element("id", "coronal-psma")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    before = voxel(page)
    ActionChains(page).move_to_element_with_offset(canvas, 10, 20).click().perform()
    after = voxel(page)
    assert after[1] == before[1]
    assert after != before


def test_what_the_viewers_steps_cannot_hold_is_said(chrome, tmp_path):
    spots = {Tracer.PSMA: [Spot((27, 24, 22), (8, 8, 8), 60.0)]}
    (tmp_path / "page.html").write_text(report_html(report_content(result(spots))), encoding="utf-8")
    opened(chrome, tmp_path / "page.html")
    voxel(chrome)
    assert "PSMA SUV 25.5 or more" in text(chrome, "#readout")


def test_keys(page):
    click(page, "[data-go=P1]")
    press(page, "n")
    assert voxel(page) == by_id(page, "P2")["voxel"]
    press(page, "p")
    assert voxel(page) == by_id(page, "P1")["voxel"]
    press(page, "]")
    voxel(page)
    assert page.execute_script("return document.body.dataset.angle") == "10"
    press(page, "4")
    assert text(page, "#black-value-psma") == "SUV 0 to 20"
    press(page, "f")
    assert (
        page.execute_script("return document.querySelector('[data-mode=fused]').getAttribute('aria-pressed')") == "true"
    )
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.getElementById('axial-psma').focus()")
    z = voxel(page)[0]
    press(page, Keys.ARROW_UP)
    assert voxel(page)[0] == z + 1


def test_rejecting_changes_the_totals_and_the_saved_review_makes_masks(page, folder, downloads):
    total = sum(x["ml"] for x in data(page)["lesions"] if x["tracer"] == "psma")
    assert not page.execute_script("return document.getElementById('now').hidden === false")
    click(page, "#lesions [data-decide=P2][data-as=reject]")
    assert float(text(page, "#now-ml-psma")) == pytest.approx(total - by_id(page, "P2")["ml"], abs=0.05)
    click(page, "[data-decide=PX1][data-as=confirm]")
    assert float(text(page, "#now-ml-psma")) == pytest.approx(
        total - by_id(page, "P2")["ml"] + by_id(page, "PX1")["ml"], abs=0.05
    )
    assert (
        page.execute_script("return document.querySelectorAll('tr[data-lesion=P2][data-decision=reject]').length") == 2
    )
    page.find_element("id", "reviewer").send_keys("Dr. B")
    click(page, "#save")
    saved = downloads / "review.json"
    wait(saved.is_file)
    assert "names no reviewer" not in text(page, "#review-state")
    apply_review(folder, saved)
    before, after = (ImageFile(mask_path(f, Tracer.PSMA)).read().voxels for f in (folder, folder / "reviewed"))
    assert int(after.sum()) == int(before.sum()) - 4 + 27
    record = json.loads((folder / "reviewed/run_report.json").read_text())["review"]
    assert (record["reviewer"], record["decisions"]) == ("Dr. B", {"P2": "reject", "PX1": "confirm"})
    # Undone by a second click; brought back by loading the file.
    click(page, "#lesions [data-decide=P2][data-as=reject]")
    click(page, "[data-decide=PX1][data-as=confirm]")
    assert float(text(page, "#now-ml-psma")) == pytest.approx(total, abs=0.05)
    page.find_element("id", "load").send_keys(str(saved))
    wait(lambda: "2 decided" in text(page, "#review-state"))
    # Of another result: refused.
    other = downloads / "other.json"
    other.write_text(saved.read_text().replace('"psma": "', '"psma": "0'))
    page.find_element("id", "load").send_keys(str(other))
    wait(lambda: "other masks" in text(page, "#review-state"))
    page.find_element("id", "reviewer").clear()
    click(page, "#save")  # nothing unsaved is left behind
    assert "names no reviewer" in text(page, "#review-state")
    saved.unlink()


def test_every_printed_sheet_says_what_it_is_not_for(page):
    """In the sheet's margin: Chromium prints nothing that is fixed once the reader has scrolled."""
    rules = page.execute_script(
        "return [...document.styleSheets[0].cssRules].filter(r => r.media && r.media.mediaText === 'print')"
        ".flatMap(r => [...r.cssRules]).filter(r => r.type === CSSRule.PAGE_RULE).map(r => r.cssText)"
    )
    assert any("@bottom-center" in rule and BANNER in rule for rule in rules)


def test_on_paper_no_table_is_cut_or_covered_and_every_column_has_its_name(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    a4 = {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", a4)
    try:
        cut = page.execute_script(
            "return [...document.querySelectorAll('table, svg')].map(t => t.getBoundingClientRect())"
            ".filter(r => r.right > innerWidth + 1).length"
        )
        covered = page.execute_script(
            "const all = [...document.querySelectorAll('#totals table, #both table')]"
            ".map(t => t.getBoundingClientRect());"
            "return all.filter((a, i) => all.some((b, k) => k > i && a.left < b.right && b.left < a.right"
            " && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length"
        )
        # A button's own box is not painted in the head that a sheet repeats.
        boxes = page.execute_script(
            "return [...document.querySelectorAll('thead button')].map(b => getComputedStyle(b).display)"
        )
        click(page, "#lesions [data-decide=P2][data-as=reject]")
        decided = page.execute_script(
            "return getComputedStyle(document.querySelector('#row-P2 th'), '::after').content"
        )
        click(page, "#lesions [data-decide=P2][data-as=reject]")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        page.execute_script("onbeforeunload = null")
    assert (cut, covered, set(boxes), decided) == (0, 0, {"contents"}, '" rejected"')


def test_three_pictures_stand_side_by_side(page):
    tops = page.execute_script(
        "return ['mip', 'coronal', 'sagittal']"
        ".map(n => document.getElementById(n + '-psma').getBoundingClientRect().top)"
    )
    assert max(tops) - min(tops) < 2


def test_sorting_is_told_to_screen_readers(page):
    click(page, "#lesion-table th:nth-child(4) button")
    first = page.execute_script("return document.querySelector('#lesion-table tbody tr').dataset.lesion")
    assert first == "P1"
    head = page.find_element("css selector", "#lesion-table th:nth-child(4)")
    assert head.get_attribute("aria-sort") == "descending"
    click(page, "#lesion-table th:nth-child(4) button")
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.execute_script("return document.querySelector('#lesion-table tbody tr').dataset.lesion") == "F1"


def test_axe_finds_no_serious_fault(chrome, folder, tmp_path_factory):
    source = axe_source(tmp_path_factory.mktemp("axe"))
    opened(chrome, folder / "report.html")
    chrome.execute_script(source)
    found = chrome.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    grave = [
        (v["id"], v["nodes"][0]["html"][:120]) for v in found["violations"] if v["impact"] in ("serious", "critical")
    ]
    assert grave == []


@pytest.mark.parametrize(
    ("spots", "options"),
    [
        ({Tracer.PSMA: [], Tracer.FDG: []}, {}),
        ({Tracer.PSMA: TYPICAL[Tracer.PSMA]}, {"with_organs": False}),
        ({Tracer.FDG: TYPICAL[Tracer.FDG]}, {"with_ct": True}),
    ],
)
def test_unusual_cases_open_without_an_error(chrome, tmp_path, spots, options):
    (tmp_path / "page.html").write_text(report_html(report_content(result(spots, **options))), encoding="utf-8")
    chrome.get_log("browser"), chrome.get_log("performance")
    opened(chrome, tmp_path / "page.html")
    press(chrome, "n")
    press(chrome, "f")
    assert [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"] == []
    assert requests(chrome) == []


def test_texts_from_files_run_nothing(chrome, tmp_path):
    from deeppsma.reporting.case_result import CaseResult

    made = result(TYPICAL)
    evil = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    case = CaseResult(evil, made.scans, made.fdg_to_psma, {"notice": evil, "fallbacks": [evil]}, False)
    (tmp_path / "page.html").write_text(report_html(report_content(case)), encoding="utf-8")
    opened(chrome, tmp_path / "page.html")
    assert chrome.title != "broken"
    # The page's own policy stops a script that gets in somehow.
    chrome.execute_script(
        "const s = document.createElement('script');"
        "s.textContent = \"document.title = 'broken'\"; document.head.append(s)"
    )
    assert chrome.title != "broken"
    chrome.get_log("browser")


def test_three_hundred_lesions(chrome, tmp_path):
    spots = [
        Spot((2 + 4 * (k % 14), 2 + 5 * (k // 14 % 7), 2 + 15 * (k // 98)), (2, 3, 3), 5.0 + k % 20) for k in range(280)
    ]
    made = result({Tracer.PSMA: spots, Tracer.FDG: spots[:40]})
    content = report_content(made)
    assert len(content.table.lesions) >= 300
    (tmp_path / "page.html").write_text(report_html(content), encoding="utf-8")
    opened(chrome, tmp_path / "page.html")
    assert chrome.execute_script("return document.querySelectorAll('#lesion-table tbody tr').length") == len(
        content.table.lesions
    )
    assert [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"] == []
    assert GRID.voxel_count == 120000

"""OHIF's page in a real browser: a study opened, an object laid on its PET, and what the viewer has of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

_SETTLED = "return !!window.services && window.services.displaySetService.getActiveDisplaySets().length >= arguments[0]"
_SHOW = """
const s = window.services;
const seg = s.displaySetService.getActiveDisplaySets().find(d => d.SeriesInstanceUID === arguments[0]);
s.viewportGridService.setDisplaySetsForViewport({
  viewportId: s.viewportGridService.getState().activeViewportId,
  displaySetInstanceUIDs: [seg.displaySetInstanceUID],
});
"""
_SHOWN = "return window.services.segmentationService.getSegmentations().map(s => s.segmentationId)"
# Labels, the PET image that each lies on, its plane, and the values that the viewer shows there.
_LABELS = """
const [id, done] = arguments;
(async () => {
  const out = [];
  const {cache, metaData, imageLoader} = window.cornerstone;
  const labelmap = window.services.segmentationService.getSegmentation(id).representationData.Labelmap;
  for (const imageId of labelmap.imageIds) {
    const image = cache.getImage(imageId);
    const labels = image.voxelManager.getScalarData();
    const at = [];
    for (let i = 0; i < labels.length; i++) if (labels[i]) at.push(i);
    if (!at.length) continue;
    const pet = await imageLoader.loadAndCacheImage(image.referencedImageId);
    const values = pet.getPixelData();
    const plane = metaData.get('imagePlaneModule', image.referencedImageId);
    out.push({
      petId: image.referencedImageId, columns: pet.columns, at, segments: at.map(i => labels[i]),
      suv: at.map(i => values[i]), scaled: !!(pet.preScale && pet.preScale.scaled),
      origin: plane.imagePositionPatient, row: plane.rowCosines, column: plane.columnCosines,
      spacing: [plane.columnPixelSpacing, plane.rowPixelSpacing],
    });
  }
  return out;
})().then(done, error => done({error: String(error)}));
"""
_JUMP = """
const [petId, done] = arguments;
const s = window.services;
const v = s.cornerstoneViewportService.getCornerstoneViewport(s.viewportGridService.getState().activeViewportId);
v.setImageIdIndex(v.getImageIds().indexOf(petId)).then(() => done(v.getCurrentImageId()), e => done(String(e)));
"""
_CANVAS = """
const s = window.services;
const v = s.cornerstoneViewportService.getCornerstoneViewport(s.viewportGridService.getState().activeViewportId);
const box = v.canvas.getBoundingClientRect();
return arguments[0].map(p => { const [x, y] = v.worldToCanvas(p); return [x + box.left, y + box.top]; });
"""


# Polylines of all regions, by label.
_CONTOURS = """
const state = window.cornerstoneTools.annotation.state;
const contour = window.services.segmentationService.getSegmentation(arguments[0]).representationData.Contour;
const out = {};
for (const [segment, uids] of contour.annotationUIDsMap) {
  out[segment] = [...uids].map(uid => state.getAnnotation(uid).data.contour.polyline);
}
return out;
"""


class Page:
    """OHIF with one study open.

    Parameters
    ----------
    browser
        Of selenium.
    address
        Of the viewer.
    study
        UID.
    series_count
        How many series it has: the page is ready when it lists them.
    """

    def __init__(self, browser: Any, address: str, study: str, series_count: int) -> None:
        self._browser = browser
        browser.get(f"{address}/segmentation?StudyInstanceUIDs={study}")
        self._wait(_SETTLED, series_count)
        time.sleep(5)  # the page's own first choice of a series comes later, and would replace ours
        for tour in browser.find_elements("xpath", "//*[text()='Skip all']"):
            tour.click()

    def show(self, series: str) -> str:
        """Lay a SEG or RTSTRUCT on its PET; gives what OHIF calls it."""
        before = self._browser.execute_script(_SHOWN)
        self._browser.execute_script(_SHOW, series)
        shown = self._wait(_SHOWN + ".filter(id => !arguments[0].includes(id))", before)
        time.sleep(5)
        return str(shown[0])

    def labels(self, shown: str) -> list[dict[str, Any]]:
        """PET slices with labels of a SEG: labels, places and values."""
        found = self._browser.execute_async_script(_LABELS, shown)
        if isinstance(found, dict):
            raise SystemExit(found["error"])
        return list(found)

    def contours(self, shown: str) -> dict[int, list[list[list[float]]]]:
        """Polylines of an RTSTRUCT by label; points are x, y, z in mm (LPS)."""
        found = self._browser.execute_script(_CONTOURS, shown)
        return {int(label): lines for label, lines in found.items()}

    def jump(self, image: str) -> bytes:
        """Go to a PET slice; gives a picture (PNG) of the window."""
        if self._browser.execute_async_script(_JUMP, image) != image:
            raise SystemExit("OHIF does not go to the slice")
        time.sleep(3)
        return bytes(self._browser.get_screenshot_as_png())

    def on_canvas(self, places: NDArray) -> list[list[float]]:
        """Where points (n, 3), x, y, z in mm, lie in the window, x and y in its pixels."""
        return list(self._browser.execute_script(_CANVAS, places.tolist()))

    def _wait(self, script: str, *arguments: object, limit_s: float = 120) -> Any:
        until = time.monotonic() + limit_s
        while not (found := self._browser.execute_script(script, *arguments)):
            if time.monotonic() > until:
                raise SystemExit(f"OHIF does not come so far: {script[:100]}")
            time.sleep(0.5)
        return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium that draws by software (Debian: chromium, chromium-driver)."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "window-size=1400,900",
        "use-angle=swiftshader",
        "enable-unsafe-swiftshader",
        "ignore-gpu-blocklist",
    ):
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.set_script_timeout(120)
    try:
        yield browser
    finally:
        browser.quit()

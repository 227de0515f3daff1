"""Results in a viewer: OHIF in a real browser, over a real Orthanc, held against the mask voxel by voxel.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    python -m benchmarks.ohif package/dist FOLDER OUT PICTURE.png [--tracer psma]

FOLDER is a patient's DICOM files, OUT what ``deeppsma segment FOLDER OUT`` wrote. The tracer's study and its objects
go into an Orthanc of its own; Chromium opens OHIF, which lays the SEG on the PET. Compared:

- the voxels that OHIF labels, at the places where OHIF puts them, with the mask file;
- OHIF's SUV of these voxels with ours, and with the threshold;
- on the screen, at the slice with most of the mask: which voxels' centres are coloured.

Needs Debian's orthanc, orthanc-dicomweb, chromium and chromium-driver, npm, and ``pip install selenium``.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.viewer_servers import orthanc, viewer
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.study import open_patient
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import mask_path

#: A voxel's centre is coloured where red, green and blue are this far apart; PET and background are grey.
COLOURED = 40
#: Voxels around the mask that are looked at on the screen.
MARGIN = 12

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


@contextmanager
def _browser() -> Iterator[Any]:
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


def _wait(browser: Any, script: str, *arguments: object, limit_s: float = 120) -> Any:
    until = time.monotonic() + limit_s
    while not (found := browser.execute_script(script, *arguments)):
        if time.monotonic() > until:
            raise SystemExit(f"OHIF does not come so far: {script[:100]}")
        time.sleep(0.5)
    return found


@dataclass(frozen=True)
class Slice:
    """A PET slice with labels, as the viewer has it.

    Parameters
    ----------
    pet_id
        Its name there.
    rows, columns
        Of the labelled voxels.
    segments, suv
        Label and shown value of each.
    origin, across, down
        x, y, z in mm (LPS): the first voxel's centre; the step to the next in a row; the step to the next row.
    """

    pet_id: str
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    segments: NDArray[np.int64]
    suv: NDArray[np.float64]
    origin: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Slice:
        """From what the browser says."""
        if not found["scaled"]:
            raise SystemExit("OHIF shows no SUV")
        rows, columns = np.divmod(np.array(found["at"]), found["columns"])
        return cls(
            found["petId"],
            rows,
            columns,
            np.array(found["segments"]),
            np.array(found["suv"], float),
            np.array(found["origin"], float),
            np.array(found["row"], float) * found["spacing"][0],
            np.array(found["column"], float) * found["spacing"][1],
        )

    def places(self, rows: NDArray, columns: NDArray) -> NDArray[np.float64]:
        """(n, 3): centres of voxels, x, y, z in mm (LPS)."""
        return self.origin + np.outer(columns, self.across) + np.outer(rows, self.down)


def compare(slices: list[Slice], mask: Volume, pet: Volume, threshold_suv: float) -> dict[str, Any]:
    """Labels and values of the viewer against ours, at the places where the viewer has them."""
    grid = mask.geometry
    shown = np.zeros(grid.shape_zyx, np.int64)
    apart_mm = suv_apart = 0.0
    outside = 0
    for one in slices:
        at = grid.world_to_index(one.places(one.rows, one.columns))
        voxel = np.rint(at).astype(int)
        apart_mm = max(apart_mm, float(np.abs((at - voxel) * grid.spacing_zyx).max()))
        inside = ((voxel >= 0) & (voxel < grid.shape_zyx)).all(axis=1)
        outside += int((~inside).sum())
        zyx = tuple(voxel[inside].T)
        shown[zyx] = one.segments[inside]
        suv_apart = max(suv_apart, float(np.abs(one.suv[inside] / pet.voxels[zyx] - 1).max(initial=0)))
    suv = np.concatenate([one.suv for one in slices])
    return {
        "voxels of the mask": int((mask.voxels > 0).sum()),
        "voxels that differ": int(((shown > 0) != (mask.voxels > 0)).sum()) + outside,
        "segments": int(np.unique(shown[shown > 0]).size),
        "furthest from a voxel's centre, mm": round(apart_mm, 6),
        "SUV differs by at most": float(f"{suv_apart:.2g}"),
        "lowest SUV under the mask": round(float(suv.min()), 3),
        "threshold": threshold_suv,
        "hottest voxel under the mask": round(float(suv.max()), 3),
    }


def on_screen(one: Slice, picture: bytes, browser: Any) -> dict[str, int]:
    """Which voxels' centres are coloured on the screen, near the slice's lesions."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    rows, columns = (
        part.ravel()
        for part in np.meshgrid(
            np.arange(one.rows.min() - MARGIN, one.rows.max() + MARGIN + 1),
            np.arange(one.columns.min() - MARGIN, one.columns.max() + MARGIN + 1),
            indexing="ij",
        )
    )
    x, y = np.rint(browser.execute_script(_CANVAS, one.places(rows, columns).tolist())).astype(int).T
    seen = (x >= 0) & (y >= 0) & (x < pixels.shape[1]) & (y < pixels.shape[0])
    if not seen.all():
        raise SystemExit("lesions lie outside the window")
    coloured = np.ptp(pixels[y, x], axis=1) > COLOURED
    labelled = np.isin(rows * 100_000 + columns, one.rows * 100_000 + one.columns)
    return {
        "voxels of the mask in the slice": int(labelled.sum()),
        "of them coloured": int((labelled & coloured).sum()),
        "others looked at": int((~labelled).sum()),
        "of those coloured": int((~labelled & coloured).sum()),
    }


def look(dist: Path, folder: Path, out: Path, picture: Path, tracer: Tracer) -> dict[str, Any]:
    """Show a result, keep the picture, and say what was found."""
    import pydicom

    series = open_patient(folder).pet(tracer)
    objects = sorted((out / "dicom" / str(tracer)).glob("*.dcm"))
    seg = pydicom.dcmread(out / "dicom" / str(tracer) / "seg.dcm", stop_before_pixels=True)
    threshold = json.loads((out / "run_report.json").read_text())["findings"][str(tracer)]["threshold_suv"]
    pets = [header.path for header in series.stack.headers]
    with (
        tempfile.TemporaryDirectory() as temporary,
        orthanc(Path(temporary) / "orthanc", [*pets, *objects]) as archive,
        viewer(dist, archive) as page,
        _browser() as browser,
    ):
        browser.get(f"{page}/segmentation?StudyInstanceUIDs={seg.StudyInstanceUID}")
        _wait(browser, _SETTLED, 2)
        time.sleep(5)  # the page's own first choice of a series comes later, and would replace ours
        for tour in browser.find_elements("xpath", "//*[text()='Skip all']"):
            tour.click()
        browser.execute_script(_SHOW, seg.SeriesInstanceUID)
        shown = _wait(browser, _SHOWN)
        time.sleep(5)
        found = browser.execute_async_script(_LABELS, shown[0])
        if isinstance(found, dict):
            raise SystemExit(found["error"])
        slices = [Slice.of(each) for each in found]
        results = compare(slices, ImageFile(mask_path(out, tracer)).read(), series.read(), threshold)
        most = max(slices, key=lambda one: len(one.rows))
        if browser.execute_async_script(_JUMP, most.pet_id) != most.pet_id:
            raise SystemExit("OHIF does not go to the slice")
        time.sleep(3)
        taken = browser.get_screenshot_as_png()
        results |= on_screen(most, taken, browser)
    picture.write_bytes(taken)
    return results


def main() -> None:
    """Print what was found; status 1 where the viewer has other voxels than the mask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="of @ohif/app")
    parser.add_argument("folder", type=Path, help="a patient's DICOM files")
    parser.add_argument("out", type=Path, help="result of 'deeppsma segment'")
    parser.add_argument("picture", type=Path, help="PNG, written")
    parser.add_argument("--tracer", type=Tracer, choices=list(Tracer), default=Tracer.PSMA)
    options = parser.parse_args()
    results = look(options.dist, options.folder, options.out, options.picture, options.tracer)
    for name, value in results.items():
        print(f"{name}: {value}")
    raise SystemExit(1 if results["voxels that differ"] else 0)


if __name__ == "__main__":
    main()

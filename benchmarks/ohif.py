"""Results in a viewer: OHIF in a real browser, over a real Orthanc, held against the mask voxel by voxel.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    python -m benchmarks.ohif package/dist FOLDER OUT PICTURE.png [--tracer psma]

FOLDER is a patient's DICOM files, OUT what ``deeppsma segment FOLDER OUT`` wrote. The tracer's study and its objects
go into an Orthanc of its own; Chromium opens OHIF, which lays the SEG, then the RTSTRUCT on the PET. Compared:

- the voxels that OHIF labels, at the places where OHIF puts them, with the mask file;
- OHIF's SUV of these voxels with ours, and with the threshold;
- on the screen, at the slice with most of the mask: which voxels' centres are coloured;
- the RTSTRUCT's contours as OHIF has them, point by point; a second picture (``PICTURE_rtstruct.png``) shows them.

Needs Debian's orthanc, orthanc-dicomweb, chromium and chromium-driver, npm, and ``pip install selenium``.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ohif_page import Page, chromium
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


def compare_contours(found: dict[int, list[list[list[float]]]], structures: Any) -> dict[str, Any]:
    """Lines of the viewer against those of an RTSTRUCT, region by region, point by point."""
    count = differ = 0
    apart_mm = 0.0
    for region in structures.ROIContourSequence:
        written = [np.array(each.ContourData, float).reshape(-1, 3) for each in region.get("ContourSequence", [])]
        lines = [np.array(line) for line in found.get(int(region.ReferencedROINumber), [])]
        count += len(written)
        if [len(line) for line in lines] != [len(line) for line in written]:
            differ += 1
            continue
        apart_mm = max([apart_mm, *(float(np.abs(a - b).max()) for a, b in zip(lines, written, strict=True))])
    return {
        "contours of the RTSTRUCT": count,
        "regions whose contours differ in number or points": differ,
        "contours are apart by at most, mm": round(apart_mm, 6),
    }


def on_screen(one: Slice, picture: bytes, page: Page) -> dict[str, int]:
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
    x, y = np.rint(page.on_canvas(one.places(rows, columns))).astype(int).T
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
    place = out / "dicom" / str(tracer)
    seg = pydicom.dcmread(place / "seg.dcm", stop_before_pixels=True)
    structures = pydicom.dcmread(place / "rtstruct.dcm")
    objects = sorted(place.glob("*.dcm"))
    threshold = json.loads((out / "run_report.json").read_text())["findings"][str(tracer)]["threshold_suv"]
    pets = [header.path for header in series.stack.headers]
    with (
        tempfile.TemporaryDirectory() as temporary,
        orthanc(Path(temporary) / "orthanc", [*pets, *objects]) as archive,
        viewer(dist, archive) as address,
        chromium() as browser,
    ):
        study = str(seg.StudyInstanceUID)
        page = Page(browser, address, study, 1 + len(objects))
        slices = [Slice.of(each) for each in page.labels(page.show(str(seg.SeriesInstanceUID)))]
        results = compare(slices, ImageFile(mask_path(out, tracer)).read(), series.read(), threshold)
        most = max(slices, key=lambda one: len(one.rows))
        taken = page.jump(most.pet_id)
        results |= on_screen(most, taken, page)
        page = Page(browser, address, study, 1 + len(objects))  # anew, without the SEG
        contours = page.contours(page.show(str(structures.SeriesInstanceUID)))
        results |= compare_contours(contours, structures)
        outlined = page.jump(most.pet_id)
    picture.write_bytes(taken)
    picture.with_stem(f"{picture.stem}_rtstruct").write_bytes(outlined)
    return results


def main() -> None:
    """Print what was found; status 1 where the viewer has other voxels than the mask, or other contours."""
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
    wrong = ("voxels that differ", "regions whose contours differ in number or points")
    raise SystemExit(1 if any(results[name] for name in wrong) else 0)


if __name__ == "__main__":
    main()

from dataclasses import replace

import numpy as np
import pytest
from builders.patients import SMALL_SCANNERS
from pydicom.dataset import Dataset

from benchmarks import pipeline, resident
from benchmarks.ohif import Slice, compare, compare_contours
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.layouts import load_case
from deeppsma.operation.engine import Engine
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.session import PhantomOptions


def test_a_run_is_measured(platform_case, tmp_path, tiny_weights, capsys):
    measured = pipeline.measure(platform_case, tmp_path, "bothways_plus", "cpu", tiny_weights)
    pipeline.print_measured("tiny", measured)
    assert 0 < sum(measured.report["seconds"].values()) < measured.wall_s
    assert measured.peak_mb >= measured.report["peak_memory_mb"] * 0.9
    assert "network" in capsys.readouterr().out


def test_the_largest_case_reads_back(tmp_path, monkeypatch):
    def coarse(seed, options):
        return draw_patient(seed, PhantomOptions(ct="none", scene_spacing_mm=8.0), SMALL_SCANNERS)

    monkeypatch.setattr(pipeline, "draw_patient", coarse)
    monkeypatch.setattr(pipeline, "LARGEST_PET", {Tracer.PSMA: (150, 60, 60), Tracer.FDG: (130, 50, 50)})
    monkeypatch.setattr(pipeline, "CT_PLANE", 70)
    case = load_case(pipeline.write_largest_case(tmp_path))
    assert case.psma.pet.geometry.shape_zyx == (150, 60, 60)
    assert case.fdg.ct.geometry.shape_zyx == (130, 70, 70)
    assert (case.psma.read_pet().voxels >= 3).any()


def labelled_slices(mask, pet):
    """What a browser says of a mask, slice by slice."""
    grid, out = mask.geometry, []
    for z in np.flatnonzero(mask.voxels.any(axis=(1, 2))):
        at = np.flatnonzero(mask.voxels[z])
        said = {
            "petId": str(z),
            "columns": grid.shape_zyx[2],
            "at": at.tolist(),
            "segments": [1] * len(at),
            "suv": pet.voxels[z].ravel()[at].tolist(),
            "scaled": True,
            "origin": grid.index_to_world(np.array([[z, 0, 0]]))[0].tolist(),
            "row": [1, 0, 0],
            "column": [0, 1, 0],
            "spacing": [grid.spacing_zyx[2], grid.spacing_zyx[1]],
        }
        out.append(Slice.of(said))
    return out


def test_a_viewer_that_shows_something_else_is_found_out():
    grid = Geometry((5, 6, 7), (4.0, 3.0, 2.0), (-10.0, 20.0, 5.0))
    pet = Volume(np.linspace(1, 9, 210, dtype=np.float32).reshape(grid.shape_zyx), grid)
    mask = Volume((pet.voxels > 6).astype(np.uint8), grid)
    right = compare(labelled_slices(mask, pet), mask, pet, 6.0)
    assert (right["voxels that differ"], right["segments"], right["SUV differs by at most"]) == (0, 1, 0)
    assert right["lowest SUV under the mask"] > 6
    shifted = [replace(one, origin=one.origin + np.array([2.0, 0, 0])) for one in labelled_slices(mask, pet)]
    wrong = compare(shifted, mask, pet, 6.0)
    assert wrong["voxels that differ"] > 0
    assert wrong["SUV differs by at most"] > 0.001
    between = [replace(one, origin=one.origin + np.array([0, 0.5, 0])) for one in labelled_slices(mask, pet)]
    assert compare(between, mask, pet, 6.0)["furthest from a voxel's centre, mm"] == 0.5


def test_contours_that_are_missing_or_elsewhere_are_found_out():
    lines = [[[0.0, 0, 0], [4, 0, 0], [4, 4, 0]], [[9, 9, 3], [12, 9, 3], [12, 12, 3]]]
    region = Dataset()
    region.ReferencedROINumber = 1
    region.ContourSequence = []
    for line in lines:
        contour = Dataset()
        contour.ContourData = np.ravel(line).tolist()
        region.ContourSequence.append(contour)
    structures = Dataset()
    structures.ROIContourSequence = [region]
    assert list(compare_contours({1: lines}, structures).values()) == [2, 0, 0.0]
    assert list(compare_contours({1: lines[:1]}, structures).values()) == [2, 1, 0.0]
    assert list(compare_contours({}, structures).values()) == [2, 1, 0.0]
    moved = [[[x + 0.25, y, z] for x, y, z in line] for line in lines]
    assert list(compare_contours({1: moved}, structures).values()) == [2, 0, 0.25]


@pytest.mark.slow
def test_a_process_that_stays_does_not_grow(platform_case, tiny_weights, monkeypatch):
    monkeypatch.setattr("deeppsma.models.weights._kept", None)
    engine = Engine("bothways", "cpu", tiny_weights)
    found = list(resident.resident_mb(engine, [platform_case], 200))
    assert len(found) == 200
    assert found[-1] < 1.02 * found[19]


def test_resident_sizes_come_case_by_case(platform_case, tiny_weights, monkeypatch):
    monkeypatch.setattr("deeppsma.models.weights._kept", None)
    found = list(resident.resident_mb(Engine("single", "cpu", tiny_weights), [platform_case], 2))
    assert all(50 < mb < 20_000 for mb in found)

import pytest
from builders.patients import SMALL_SCANNERS

from benchmarks import pipeline, resident
from deeppsma.core.tracer import Tracer
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

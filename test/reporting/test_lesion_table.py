from dataclasses import replace

import numpy as np
import pytest
from builders.results import GRID, RUN_REPORT, TYPICAL, Spot, result, scan

from deeppsma.core.box import Box
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.lesion_probabilities import probabilities_of
from deeppsma.reporting.lesion_table import FocusMap, Lesion, LesionTable, lesion_table


def test_figures_solved_by_hand():
    table = lesion_table(result(TYPICAL))
    assert [lesion.id for lesion in table.lesions] == ["P1", "P2", "F1", "F2"]
    first = table.by_id("P1")
    assert first.voxels == 80
    assert first.volume_ml == pytest.approx(80 * 0.08)
    assert first.suv_max == first.suv_mean == 12
    assert first.total_uptake_g == pytest.approx(6.4 * 12)
    # Indices 27..30, 24..28, 22..25: middles at z 28.5 * 5, y 26 * 4 - 80, x 23.5 * 4 - 100.
    assert first.centre_xyz_mm == pytest.approx((-6, 24, 142.5))
    assert first.naming.first.text == "bone, L4 (\N{PLUS-MINUS SIGN}1)"
    assert not first.small
    second = table.by_id("P2")
    assert (second.voxels, second.small) == (4, True)
    assert second.volume_ml == pytest.approx(0.32)
    assert table.components == {Tracer.PSMA: 2, Tracer.FDG: 2}
    with pytest.raises(KeyError):
        table.by_id("P3")


def test_one_component_with_two_peaks_is_two_foci_and_one_component():
    spots = [Spot((30, 10, 10), (3, 3, 3), 9.0), Spot((30, 10, 13), (3, 3, 4), 4.0), Spot((30, 10, 17), (3, 3, 4), 8.0)]
    table = lesion_table(result({Tracer.PSMA: spots}))
    assert (len(table.lesions), table.components[Tracer.PSMA]) == (2, 1)
    assert sum(lesion.voxels for lesion in table.lesions) == 27 + 36 + 36


def test_agrees_with_simpleitk_label_statistics():
    import SimpleITK as sitk

    rng = np.random.default_rng(4)
    from scipy.ndimage import gaussian_filter

    suv = gaussian_filter(rng.random(GRID.shape_zyx), 1.5).astype(np.float32)
    suv = 1 + 20 * np.clip((suv - suv.mean()) / suv.std() - 1.5, 0, None).astype(np.float32)
    mask = (suv >= 3).astype(np.uint8)
    one = TracerResult(Tracer.PSMA, Volume(suv, GRID), 3.0, Volume(mask, GRID))
    table = lesion_table(CaseResult("c", {Tracer.PSMA: one}))
    foci = table.maps[Tracer.PSMA]
    whole = np.zeros(GRID.shape_zyx, np.uint16)
    whole[foci.box.slices] = foci.labels
    assert (whole > 0).sum() == mask.sum()
    labels, image = Volume(whole, GRID).to_sitk(), Volume(suv, GRID).to_sitk()
    shape, values = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelStatisticsImageFilter()
    shape.Execute(labels)
    values.Execute(image, labels)
    assert len(table.lesions) == shape.GetNumberOfLabels() > 10
    for lesion in table.lesions:
        assert shape.GetPhysicalSize(lesion.number) / 1000 == pytest.approx(lesion.volume_ml)
        assert shape.GetCentroid(lesion.number) == pytest.approx(lesion.centre_xyz_mm)
        assert values.GetMaximum(lesion.number) == pytest.approx(lesion.suv_max)
        assert values.GetMean(lesion.number) == pytest.approx(lesion.suv_mean)
    sizes = [lesion.voxels for lesion in table.lesions]
    assert sizes == sorted(sizes, reverse=True)


def test_no_lesion_and_the_scans_border():
    table = lesion_table(result({Tracer.FDG: []}))
    assert (table.lesions, table.components[Tracer.FDG], table.maps[Tracer.FDG].count) == ((), 0, 0)
    table = lesion_table(result({Tracer.PSMA: [Spot((0, 20, 20), (3, 3, 3), 9.0), Spot((30, 20, 20), (3, 3, 3), 8.0)]}))
    assert [lesion.at_border for lesion in table.lesions] == [True, False]


def test_probabilities_come_from_the_run_report_or_there_are_none():
    foci = [np.array([[0.0, 0, 0], [4, 0, 0]]), np.array([[50.0, 0, 0]])]
    listed = [
        {"centre_xyz_mm": [2.0, 1.0, 0.0], "probability": 0.7, "decision": "kept"},
        {"centre_xyz_mm": [4.0, 0.0, 0.0], "probability": 0.6},
        {"centre_xyz_mm": [50.0, 0.0, 0.0], "probability": 0.9, "decision": "left out"},
        {"centre_xyz_mm": [57.0, 0.0, 0.0], "probability": 0.8},  # 7 mm away: another place
        {"x_mm": 50.0, "y_mm": 3.0, "z_mm": 0.0, "probability": 0.2},
        {"probability": 0.5},
        {"centre_xyz_mm": [50.0, 0.0, 0.0], "volume_ml": 1.0},
    ]
    assert probabilities_of({"foci": {"psma": listed}}, Tracer.PSMA, foci) == [0.7, 0.2]
    assert probabilities_of({"foci": {"psma": listed}}, Tracer.FDG, foci) == [None, None]
    assert probabilities_of(RUN_REPORT, Tracer.PSMA, foci) == [None, None]
    assert probabilities_of({"foci": {"psma": listed}}, Tracer.PSMA, []) == []


def test_a_probability_reaches_the_table_and_the_page():
    centre = list(lesion_table(result(TYPICAL)).by_id("P1").centre_xyz_mm)
    case = result(TYPICAL)
    report = {**RUN_REPORT, "foci": {"psma": [{"centre_xyz_mm": centre, "probability": 0.42}]}}
    table = lesion_table(replace(case, run_report=report))
    assert table.by_id("P1").probability == 0.42
    assert table.by_id("P2").probability is None


def test_what_makes_no_sense_is_refused():
    lesion = lesion_table(result(TYPICAL)).lesions[0]
    with pytest.raises(ValueError, match="no volume"):
        replace(lesion, voxels=0)
    with pytest.raises(ValueError, match="probability"):
        replace(lesion, probability=1.2)
    with pytest.raises(ValueError, match="one number"):
        LesionTable((lesion, lesion), {}, {})
    with pytest.raises(ValueError, match="labels in a box"):
        FocusMap(np.zeros((1, 1, 1), np.uint16), Box((0, 0, 0), (2, 1, 1)), GRID)
    assert isinstance(lesion, Lesion)


def test_results_are_checked():
    good = scan(Tracer.PSMA, [])
    with pytest.raises(ValueError, match="at least one"):
        CaseResult("c", {})
    with pytest.raises(ValueError, match="transform"):
        CaseResult("c", {Tracer.PSMA: good, Tracer.FDG: scan(Tracer.FDG, [])})
    with pytest.raises(ValueError, match="no transform"):
        CaseResult("c", {Tracer.PSMA: good}).transform(Tracer.PSMA)
    with pytest.raises(ValueError, match="threshold"):
        replace(good, threshold_suv=0.0)
    moved = replace(GRID, origin_xyz=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="mask is on"):
        replace(good, mask=Volume(good.mask.voxels, moved))
    assert good.mask_sha256 != scan(Tracer.PSMA, TYPICAL[Tracer.PSMA]).mask_sha256

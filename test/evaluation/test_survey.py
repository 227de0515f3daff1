import io
import json
from dataclasses import replace

import numpy as np
import pytest
from builders.patients import small_patient
from PIL import Image

from deeppsma.cli.commands import main
from deeppsma.core.anatomy import LIVER
from deeppsma.core.box import Box
from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.gallery import gallery
from deeppsma.evaluation.published_figures import Figure, Row, compare, markdown, reference, trivial_line
from deeppsma.evaluation.survey import HU_EDGES, RATIO_EDGES, measured, pooled, survey
from deeppsma.io.image_files import write_image
from deeppsma.phantom.write_cohort import write_patient


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for seed, layout in ((3, "train"), (4, "platform")):
        write_patient(small_patient(seed, "pet"), folder / f"case_{seed}", layout)
    return folder


def test_a_case_is_measured_as_by_hand(cohort):
    figures = measured(cohort / "case_3")
    for tracer, study in figures.studies.items():
        pet = small_patient(3, "pet").sessions[tracer].pet
        ct = small_patient(3, "pet").sessions[tracer].ct
        hot = pet.suv >= pet.threshold_suv
        ratios = pet.suv[hot] / pet.threshold_suv
        ours = pooled([study.ratios], RATIO_EDGES)
        assert ours["mean"] == pytest.approx(ratios.mean(), rel=0.005)
        assert ours["median"] == pytest.approx(np.median(ratios), rel=0.01)
        assert study.highest_ratio == pytest.approx(ratios.max(), rel=1e-5)
        assert pooled([study.hounsfield], HU_EDGES)["mean"] == pytest.approx(ct.voxels[hot].mean(), abs=0.6)
        assert study.disease_ml == pytest.approx(pet.truth.sum() * 0.512)
        assert study.disease_suv_mean == pytest.approx(pet.suv[pet.truth].mean(), rel=1e-5)
        assert study.disease_suv_max == pytest.approx(pet.suv[pet.truth].max())
        assert 0 <= study.trivial_dsc < 0.9
    assert figures.card["seed"] == 3


def test_liver_noise_is_measured_where_the_map_has_a_liver(cohort):
    study = measured(cohort / "case_4").studies[Tracer.PSMA]
    session = small_patient(4, "pet").sessions[Tracer.PSMA]
    assert (session.organ_labels == LIVER).any()
    assert 0.03 < study.liver_cov < 0.6


def test_cases_weigh_the_same_in_a_pool():
    edges = np.arange(11.0)
    one, other = np.zeros(10), np.zeros(10)
    one[2], other[8] = 1, 1
    both = pooled([one, other], edges)
    assert both["mean"] == 5.5
    assert both["sd"] == 3
    assert (both["p0_5"], both["p99_5"]) == (2.5, 8.5)
    assert pooled([np.zeros(10)], edges) == {}


def test_the_table_holds_what_can_be_measured(cohort):
    cases = list(survey(cohort))
    assert [case.name for case in cases] == ["case_3", "case_4"]
    rows = {row.figure.key: row for row in compare(cases)}
    assert len(rows) > 40
    assert rows["pet.psma.mean"].ours > 1
    assert rows["disease.lesions.median"].cases == 2
    assert rows["sphere.ge.10"].ours == pytest.approx(0.44, abs=0.05)
    without_cards = [type(case)(case.name, case.studies) for case in cases]
    fewer = {row.figure.key for row in compare(without_cards)}
    assert "pet.fdg.median" in fewer
    assert not any(key.startswith(("organ.", "sphere.")) or key == "disease.lesions.median" for key in fewer)
    assert "DSC of the trivial answer" in trivial_line(cases)


def test_wishes_are_judged():
    goal, sd, none = Figure("a", "A", 10, goal=0.15), Figure("b", "B", -100, sd=5), Figure("c", "C", 2)
    assert [Row(goal, value, 3).verdict for value in (8.6, 8.4, 11.5, 11.6)] == ["yes", "no", "yes", "no"]
    assert [Row(sd, value, 3).verdict for value in (-95, -94)] == ["yes", "no"]
    assert Row(none, 9, 0).verdict == ""
    assert Row(none, 9, 0).ratio == 4.5
    table = markdown([Row(goal, 9, 3), Row(none, 9, 0)])
    assert "| A | 10 | 9 | 0.90 | +- 15% | yes | 3 |" in table


def test_the_published_figures_are_there_once():
    keys = [figure.key for figure in reference()]
    assert len(set(keys)) == len(keys)
    eight = [f"{kind}.{tracer}" for kind in ("pet", "ct") for tracer in Tracer]
    assert all(any(key.startswith(start) for key in keys) for start in eight)


def test_a_page_of_patients(cohort):
    page = Image.open(io.BytesIO(gallery([cohort / "case_3", cohort / "case_4"])))
    pixels = np.asarray(page).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 90)
    assert red.any()
    assert (pixels.sum(axis=2) < 200).any()
    with pytest.raises(ValueError, match="one patient"):
        gallery([])


def test_the_command(cohort, tmp_path, capsys):
    assert main(["survey", str(cohort), "--picture", str(tmp_path / "page.png")]) == 0
    out = capsys.readouterr().out
    assert "| PSMA PET / threshold, mean | 2.89 |" in out
    assert (tmp_path / "page.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nowhere"], "no folders of cases"), (["COHORT", "--jobs", "0"], "1 or more")]
)
def test_bad_requests_get_one_line(cohort, capsys, arguments, said):
    arguments = [str(cohort) if a == "COHORT" else a for a in arguments]
    assert main(["survey", *arguments]) != 0
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert said in error[0]


def test_a_cohort_without_truth_is_refused(tmp_path):
    write_patient(small_patient(3), tmp_path / "a", "platform")
    (tmp_path / "a/truth/fdg.mha").unlink()
    with pytest.raises(InputError, match=r"fdg\.mha"):
        measured(tmp_path / "a")


@pytest.mark.parametrize("card", ["{", "[]", '{"seed": 1}', '{"made_with": {"phantom": 1}}'])
def test_a_card_of_another_make_is_refused(tmp_path, card):
    write_patient(small_patient(3), tmp_path / "a", "train")
    (tmp_path / "a/patient.json").write_text(card)
    with pytest.raises(InputError, match=r"patient\.json"):
        measured(tmp_path / "a")


def test_a_study_without_organs_or_ct_is_measured_as_far_as_it_goes(tmp_path):
    write_patient(small_patient(3, "pet"), tmp_path / "a", "train")
    for tracer in Tracer:
        for name in ("CT", "totseg_24"):
            (tmp_path / "a" / tracer.upper() / f"{name}.nii.gz").unlink()
    figures = measured(tmp_path / "a")
    assert not any(study.has_organs or study.hounsfield.any() for study in figures.studies.values())
    keys = {row.figure.key for row in compare([figures])}
    assert "pet.psma.mean" in keys
    assert not any(key.startswith(("ct.", "noise.")) for key in keys)
    assert "2 studies have no organ map" in trivial_line([figures])


def test_what_a_ct_does_not_see_has_no_density(tmp_path):
    """A CT of half the field, on a grid of its own: no zeros from outside it, and nothing that it left empty."""
    write_patient(small_patient(3, "pet"), tmp_path / "a", "train")
    session = small_patient(3, "pet").sessions[Tracer.PSMA]
    half = Box((0, 0, 0), tuple(n // 2 for n in session.ct.geometry.shape_zyx))
    cut = Volume(np.full(half.shape_zyx, 77, np.int16), session.ct.geometry.cropped(half))
    write_image(cut, tmp_path / "a/PSMA/CT.nii.gz")
    hounsfield = measured(tmp_path / "a").studies[Tracer.PSMA].hounsfield
    assert hounsfield[77 + 1024] == pytest.approx(1)


def test_truth_on_another_grid_is_refused(tmp_path):
    write_patient(small_patient(3), tmp_path / "a", "platform")
    pet = small_patient(3).sessions[Tracer.PSMA].pet
    moved = replace(pet.geometry, origin_xyz=(0.0, 0.0, 0.0))
    write_image(Volume(pet.truth.astype(np.uint8), moved), tmp_path / "a/truth/psma.mha")
    with pytest.raises(InputError, match="not on its PET's grid"):
        measured(tmp_path / "a")


def test_cards_are_json(cohort):
    assert json.loads((cohort / "case_3/patient.json").read_text())["synthetic"] is True

import numpy as np
import pytest

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.uptake.enrichment import Enriched, check_enrichments, draw_enriched, enrichments
from deeppsma.phantom.uptake.physiology import Physiology
from deeppsma.phantom.uptake.pitfalls import all_pitfalls

NAMES = tuple(enrichments())


def test_every_patient_has_one_and_every_name_comes():
    drawn = [draw_enriched(NAMES, np.random.default_rng(seed)) for seed in range(200)]
    assert all(each.names for each in drawn)
    assert {name for each in drawn for name in each.names} == set(NAMES)
    assert 1.5 < np.mean([len(each.names) for each in drawn]) < 4
    for each in drawn:
        for name in each.names:
            kinds = set(enrichments()[name].get("pitfalls", ()))
            assert not kinds or kinds & each.pitfalls
        assert (each.active_marrow > 1) == ("active-marrow" in each.names)


def test_a_natural_cohort_stays_as_it_is():
    rng = np.random.default_rng(0)
    assert draw_enriched((), rng) == Enriched()
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn
    day = Physiology(True, "none", False, 1.0)
    assert Enriched().on_the_day(day) == day


def test_the_day_is_as_enriched():
    day = Enriched(("active-marrow",), active_marrow=2.0, metformin=True).on_the_day(
        Physiology(True, "none", False, 1.0)
    )
    assert (day.active_marrow, day.metformin, day.furosemide) == (2.0, True, True)
    hotter = Enriched(active_marrow=1.6).on_the_day(Physiology(False, "none", True, 2.4))
    assert (hotter.active_marrow, hotter.metformin) == (2.4, True)


def test_the_table_names_pitfalls_that_exist():
    kinds = {pitfall.name for pitfall in all_pitfalls()}
    for name, row in enrichments().items():
        assert set(row) <= {"pitfalls", "day"}, name
        assert set(row.get("pitfalls", ())) <= kinds, name
        assert set(row.get("day", ())) <= {"active-marrow", "metformin"}, name
        assert row, name


@pytest.mark.parametrize("wrong", [("gout",), ("paget", "paget")])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match="enrich must be some of pneumonia"):
        check_enrichments(wrong)
    with pytest.raises(ValueError, match="enrich must be some of pneumonia"):
        PhantomOptions(enrich=wrong)


def test_only_versions_that_can_be_made_are_taken():
    with pytest.raises(ValueError, match="version must be"):
        PhantomOptions(version=1)


def test_the_card_says_what_was_enriched():
    from builders.patients import SMALL_SCANNERS, small_patient

    from deeppsma.phantom.patient import draw_patient

    patient = draw_patient(3, PhantomOptions(ct="none", scene_spacing_mm=8.0, enrich=("pneumonia",)), SMALL_SCANNERS)
    assert patient.card["enriched"] == ["pneumonia"]
    assert patient.card["made_with"]["enrich"] == ["pneumonia"]
    kinds = {pitfall["kind"] for pitfall in patient.card["pitfalls"] if "fdg" in pitfall["suv"]}
    assert any(kind.startswith("pneumonia") for kind in kinds)
    natural = small_patient(3)
    assert "enriched" not in natural.card
    assert "enrich" not in natural.card["made_with"]
    # The man himself is the same.
    assert natural.card["anatomy"] == patient.card["anatomy"]
    assert natural.sessions[Tracer.PSMA].pet.geometry == patient.sessions[Tracer.PSMA].pet.geometry

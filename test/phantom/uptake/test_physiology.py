from dataclasses import replace

import numpy as np
import pytest

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.uptake.physiology import Physiology, draw_uptake, tables
from deeppsma.phantom.uptake.radioligand import RADIOLIGANDS, draw_radioligand

MAN = Physique.draw(np.random.default_rng(0))
BY_KEY = {ligand.key: ligand for ligand in RADIOLIGANDS}
PLAIN = Physiology(furosemide=False, heart="none", metformin=False, active_marrow=1.0, tumour_ml=100.0)


def suv(key, day=PLAIN, man=MAN, seed=0):
    return draw_uptake(BY_KEY[key], man, day, np.random.default_rng(seed))


def test_all_ligands_know_the_same_tissues():
    tissues = {key: set(table) for key, table in tables()["uptake"].items()}
    assert set(tissues) == set(BY_KEY)
    assert len({frozenset(names) for names in tissues.values()}) == 1
    for name in ("texture", "parts", "sink", "contrast"):
        assert set(tables()[name]) <= tissues["psma-11"], name


def test_tumours_take_tracer_from_organs():
    few, much = (suv("psma-11", replace(PLAIN, tumour_ml=ml)) for ml in (10, 3000))
    assert much["parotid"] < few["parotid"]
    assert much["muscle"] == few["muscle"]
    assert suv("fdg", replace(PLAIN, tumour_ml=3000)) == suv("fdg", replace(PLAIN, tumour_ml=10))


def test_furosemide_dilutes_urine():
    for key in ("psma-11", "fdg"):
        wet, dry = suv(key, replace(PLAIN, furosemide=True)), suv(key)
        assert wet["urine"] < 0.7 * dry["urine"]
        assert wet["urine_late"] / dry["urine_late"] == pytest.approx(wet["urine"] / dry["urine"])
        assert wet["liver"] == dry["liver"]


def test_late_urine_is_as_early_urine():
    assert suv("psma-11")["urine_late"] == pytest.approx(suv("psma-11")["urine"])


def test_the_heart_follows_the_meal():
    walls = [name for name in suv("fdg") if name.startswith("myocardium_")]
    none, whole = suv("fdg"), suv("fdg", replace(PLAIN, heart="whole"))
    assert all(none[wall] == pytest.approx(1.15 * none["blood"]) for wall in walls)
    assert sum(whole[wall] for wall in walls) > sum(none[wall] for wall in walls)
    some = [suv("fdg", replace(PLAIN, heart="patchy"), seed=i) for i in range(8)]
    counts = {sum(each[wall] > 1.4 * each["blood"] for wall in walls) for each in some}
    assert len(counts) > 1


def test_the_days_of_fdg():
    metformin = suv("fdg", replace(PLAIN, metformin=True))
    active = suv("fdg", replace(PLAIN, active_marrow=2.0))
    assert metformin["colon_ascending"] >= 2 * suv("fdg")["colon_ascending"]
    assert active["marrow"] == pytest.approx(2 * suv("fdg")["marrow"])
    assert active["yellow_marrow"] == suv("fdg")["yellow_marrow"]
    assert suv("psma-11", replace(PLAIN, metformin=True)) == suv("psma-11")


def test_heavy_men_have_higher_suvs():
    heavy = suv("fdg", man=replace(MAN, bmi=2 * MAN.bmi))
    assert heavy["liver"] > suv("fdg")["liver"]


def test_medians_are_as_tabled():
    rng = np.random.default_rng(1)
    draws = [
        draw_uptake(BY_KEY["psma-1007"], replace(MAN, bmi=84 / (MAN.height_mm / 1000) ** 2), PLAIN, rng)
        for _ in range(400)
    ]
    for tissue in ("liver", "spleen", "kidney", "parotid", "urine"):
        median = tables()["uptake"]["psma-1007"][tissue][0]
        assert np.median([each[tissue] for each in draws]) == pytest.approx(median, rel=0.2), tissue


def test_ligands_are_drawn_by_share():
    rng = np.random.default_rng(0)
    drawn = [draw_radioligand(Tracer.PSMA, rng).key for _ in range(500)]
    assert set(drawn) == {"psma-11", "dcfpyl", "psma-1007"}
    assert drawn.count("psma-11") / 500 == pytest.approx(0.72, abs=0.08)
    assert draw_radioligand(Tracer.FDG, rng).key == "fdg"

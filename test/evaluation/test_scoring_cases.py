"""The table of crafted cases: solved by hand, held by the code, shown in the documentation."""

import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deeppsma.evaluation.metrics import score

ROOT = Path(__file__).parents[2]
CASES = tomllib.loads((ROOT / "test/data/scoring_cases.toml").read_text())["case"]


def masks_of(case):
    plane = np.array([list(row) for row in case["drawing"]])
    drawn = np.pad(np.repeat(plane[None], case.get("slices", 1), 0), 1, constant_values=".")
    predicted, truth = np.isin(drawn, ["P", "B"]), np.isin(drawn, ["T", "B"])
    if case.get("core"):
        predicted[tuple(n // 2 for n in drawn.shape)] = True
    suv = np.full(drawn.shape, 5, np.float32)
    if "suv" in case:
        suv[1:-1, 1:-1, 1:-1] = np.array(case["suv"], np.float32)
    return predicted, truth, suv


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_crafted_case(case):
    s = score(*masks_of(case), 1.0)
    found = s.dsc, s.surface_dsc, s.fpv_ml, s.fnv_ml, s.volume_error_percent / 100, s.suv_mean_error_percent / 100
    assert found == pytest.approx([float(Fraction(text)) for text in case["figures"]])


def test_the_documentation_shows_the_same_table():
    page = (ROOT / "docs/scoring.md").read_text()
    for case in CASES:
        drawn = "centre of a 3 x 3 x 3 cube" if case.get("core") else "`" + "` / `".join(case["drawing"]) + "`"
        assert f"| {case['name']} | {drawn} | {' | '.join(case['figures'])} | {case['intent']} |" in page

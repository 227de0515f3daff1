"""What weights have seen, in fewer words, and never fewer patients."""

import pytest

from deeppsma.core.settings import resources_folder
from deeppsma.models.provenance import shortened
from deeppsma.models.weights import Member, read_member

FIRST = "197 synthetic patients (phantom version 2, seeds 0 to 159), no real ones"
OLD = f"{FIRST}, going on from m (the same patients, and before them 160 synthetic ones of phantom version 1)"


def trained_on(data, start=None):
    training = {"data": data} if start is None else {"data": data, "start": {"name": "cds-compact", "data": start}}
    return Member("m", None, None, "0", training).trained_on


def test_seeds_go():
    assert shortened(FIRST) == "197 synthetic patients, no real ones"


def test_what_the_weights_started_from_is_said_too():
    new = trained_on("75 synthetic patients of phantom version 3 (seeds 5 to 79, with (some) CTs), no real ones", OLD)
    assert shortened(new) == (
        "75 synthetic patients of phantom version 3, no real ones, going on from cds-compact "
        "(197 synthetic patients, no real ones, and what those went on from)"
    )


def test_in_a_sentence_with_others():
    assert shortened(f"Trained on: {FIRST}; x (y); {FIRST}.") == (
        "Trained on: 197 synthetic patients, no real ones; x (y); 197 synthetic patients, no real ones."
    )


@pytest.mark.parametrize(
    "text",
    [
        "600 patients (the challenge's data set, 597 real ones)",
        "patients (seeds 0 to 9, and 3 real ones)",
        "80 synthetic patients, going on from m (40 synthetic ones, going on from n (3 real patients))",
        "80 synthetic patients, going on from m (40 synthetic ones, going on from n (a data set that nobody knows))",
        "unknown data",
        "seeds (phantom version 2",
        "a) phantom version 2 (",
        "",
    ],
)
def test_what_is_not_known_to_be_synthetic_is_not_cut(text):
    assert shortened(text) == text


def test_shipped_weights():
    for folder in sorted((resources_folder() / "weights").iterdir()):
        whole = read_member(folder).trained_on
        short = shortened(whole)
        assert len(short) < 250
        assert "seeds" not in short
        assert "synthetic" in short
        assert "no real ones" in short
        assert ("going on from" in short) == ("going on from" in whole)

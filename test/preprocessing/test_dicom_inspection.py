"""What `dicom inspect` says of SUV: of the PET that is chosen, of others, and where files are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.dicom_files import as_psma, write_pet
from builders.patients import small_patient

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.preprocessing.dicom_inspection import inspect


def unchecked(folder: Path, **options: object) -> dict[str, str]:
    """Why livers were not checked, by the last part of the series' UID."""
    found = inspect(folder, **options)  # type: ignore[arg-type]
    return {uid.rsplit(".", 1)[-1]: check.unchecked for uid, check in found.checks.items()}


def test_the_liver_is_checked_where_an_organ_map_shows_it(tmp_path: Path) -> None:
    write_patient(small_patient(3, "pet"), tmp_path / "case", "dicom")
    found = inspect(tmp_path / "case/input")
    rows = {row["role"]: row["suv"] for row in found.as_dict()["series"] if row["suv"]}
    liver = rows["fdg-pet"]["liver"]
    assert (liver["usual_suv"], liver["plausible"], rows["fdg-pet"]["liver_unchecked"]) == ((1.0, 4.5), True, "")
    assert liver["core_ml"] > 50
    # This patient's PSMA map misses the liver, as a segmenter may.
    assert rows["psma-pet"]["liver"] is None
    assert "shows no liver" in rows["psma-pet"]["liver_unchecked"]
    assert [line.split()[1] for line in found.lines() if line.startswith("  liver")] == ["core", "not"]


def test_a_pet_without_a_part_is_not_checked(tmp_path: Path) -> None:
    write_pet(tmp_path, count=10)
    write_pet(tmp_path, count=4, series="9")
    assert unchecked(tmp_path) == {"1": "there is no organ map", "9": "the series has no part"}


def test_a_pet_that_takes_the_place_of_a_damaged_one_is_checked(tmp_path: Path) -> None:
    write_pet(tmp_path, count=4, series="9")
    longer = write_pet(tmp_path / "b", count=10)
    path = sorted(longer.iterdir())[3]
    path.write_bytes(path.read_bytes()[:-20])
    assert unchecked(tmp_path) == {"9": "there is no organ map"}


def test_an_organ_map_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    write_pet(tmp_path / "in", as_psma)
    bad = tmp_path / "organs.nii.gz"
    bad.write_bytes(b"no image")
    (why,) = unchecked(tmp_path / "in", organs={Tracer.PSMA: bad}).values()
    assert why.startswith("the organ map cannot be read: ")


def test_a_pet_that_was_refused_has_no_check(tmp_path: Path) -> None:
    from deeppsma.io.dicom.choose import Choice
    from deeppsma.io.dicom.examine import look_into
    from deeppsma.io.dicom.site import Site
    from deeppsma.preprocessing.dicom_inspection import _checked

    def unknown(image) -> None:
        image.Units = "1CM"

    _, (candidate,) = look_into(write_pet(tmp_path, unknown), Site())
    with pytest.raises(ValueError, match="refused"):
        _checked(candidate, Choice(), {})

"""Philips's private factors: whose they are, and what they say of a factor that was computed."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.dicom_files import pet_slice

from deeppsma.io.dicom import philips
from deeppsma.io.dicom.header import Header


def header(to_suv: str | None, to_activity: str | None, creator: str = "Philips PET Private Group") -> Header:
    image = pet_slice(0, 1)
    block = image.private_block(0x7053, creator, create=True)
    for element, value in ((0x00, to_suv), (0x09, to_activity)):
        if value is not None:
            block.add_new(element, "DS", value)
    return Header(Path("x.dcm"), image)


@pytest.mark.parametrize("to_suv", [None, "0", "-1"])
def test_a_factor_that_one_slice_lacks_is_none(to_suv: str | None) -> None:
    whole = [header("0.5", "2"), header("0.25", "2")]
    assert philips.suv_factors(whole) == (0.5, 0.25)
    assert philips.suv_factors([*whole, header(to_suv, "2")]) is None
    assert philips.activity_factors([*whole, header(to_suv, "2")]) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("factor", "checks", "warnings"), [(0.2501, 1, 0), (0.26, 0, 1)])
def test_the_second_opinion(factor: float, checks: int, warnings: int) -> None:
    check, warning = philips.second_opinion([header("0.5", "2")], [factor])
    assert (len(check), len(warning)) == (checks, warnings)
    assert "differ from this by" in (check + warning)[0]
    assert philips.second_opinion([header("0.5", None)], [factor]) == ((), ())


def test_factors_that_nobody_claims() -> None:
    assert philips.unclaimed(header("0.5", None)) == ()
    assert philips.unclaimed(header("0.5", "2", "SOMEBODY ELSE")) != ()

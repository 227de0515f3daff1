"""Philips's private factors: from stored counts to SUV (7053,1000), and to Bq/ml (7053,1009).

They hold for images in counts alone. Images in Bq/ml may have them, too: there they are a second opinion, no factor.
"""

from __future__ import annotations

from collections.abc import Sequence

from deeppsma.io.dicom.header import Header

CREATOR = "Philips PET Private Group"
_SUV_FACTOR, _ACTIVITY_FACTOR = (0x7053, 0x00), (0x7053, 0x09)
#: How far Philips's own factor may be from the one computed before it is said; they agree to 0.06 % on real headers.
AGREEMENT = 0.01


def suv_factors(headers: Sequence[Header]) -> tuple[float, ...] | None:
    """From counts to SUV, by slice; None where one is absent or 0."""
    return _factors(headers, _SUV_FACTOR)


def activity_factors(headers: Sequence[Header]) -> tuple[float, ...] | None:
    """From counts to Bq/ml, by slice; None where one is absent or 0."""
    return _factors(headers, _ACTIVITY_FACTOR)


def _factors(headers: Sequence[Header], place: tuple[int, int]) -> tuple[float, ...] | None:
    values = [header.private_number(*place, CREATOR, anonymous=True) for header in headers]
    found = tuple(value for value in values if value is not None and value > 0)
    return found if len(found) == len(headers) else None


def unclaimed(header: Header) -> tuple[str, ...]:
    """A warning where no private creator claims the factors; empty where one does."""
    claimed = [header.private(*place, CREATOR) for place in (_SUV_FACTOR, _ACTIVITY_FACTOR)]
    return ("no private creator claims Philips's tags (7053,10xx)",) if claimed == [None, None] else ()


def second_opinion(headers: Sequence[Header], factors: Sequence[float]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both of Philips's factors against the one computed from Bq/ml to SUV.

    Parameters
    ----------
    headers
        Of all slices.
    factors
        As computed, by slice.

    Returns
    -------
    tuple
        A check where they agree, a warning where they do not; neither where a header lacks one of them.
    """
    to_suv, to_activity = suv_factors(headers), activity_factors(headers)
    if to_suv is None or to_activity is None:
        return (), ()
    ratios = [b * f / a for a, b, f in zip(to_suv, to_activity, factors, strict=True)]
    apart = max(abs(ratio - 1) for ratio in ratios)
    said = f"Philips's own factors (7053,1000) and (7053,1009) differ from this by {100 * apart:.2g} %"
    return ((), (said,)) if apart > AGREEMENT else ((said,), ())

"""SUV (body weight) from a PET's header: the factors, and how they were found.

Stored value times the rescale slope of its slice, times the factor, is SUV. What the header leaves open is refused,
never guessed; the message names the tag. Sources: DICOM PS3.3 C.8.9, QIBA's vendor-neutral SUV pseudo-code, the IBSI
SUV working group's manual for units, decay corrections and vendors' habits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom import philips
from deeppsma.io.dicom.header import EXPORT_AGAIN, Header, shared, tag_of
from deeppsma.io.dicom.injection import dose_bq, half_life_of, injection_before, injection_item, weight_kg
from deeppsma.io.dicom.reference_time import acquisition_moments, reference_of


@dataclass(frozen=True)
class SuvDerivation:
    """How SUV follows from what a PET series stores.

    Parameters
    ----------
    factors
        For each slice, in the order of the headers: what the rescaled value is multiplied with.
    units
        Of the rescaled values, as Units (0054,1001) has them.
    rule
        Formula, in words.
    decay_correction
        START, ADMIN, NONE, or "" where it does not matter.
    reference
        Which rule gave the reference time; "" where none is needed.
    injection
        Which tag gave the time of injection; "" where none is needed.
    uptake_min
        Minutes from injection to reference time (NONE: to the first acquisition).
    dose_mbq, weight_kg, half_life_s, nuclide
        What went into the formula; None and "" where nothing did.
    checks
        What was held against the result.
    warnings
        What was not as it should be.
    tags
        Attributes that had a value and were read for all this.
    """

    factors: tuple[float, ...]
    units: str
    rule: str
    decay_correction: str = ""
    reference: str = ""
    injection: str = ""
    uptake_min: float | None = None
    dose_mbq: float | None = None
    weight_kg: float | None = None
    half_life_s: float | None = None
    nuclide: str = ""
    checks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.factors or not all(math.isfinite(factor) and factor > 0 for factor in self.factors):
            raise ValueError("SUV factors must be positive and finite")

    @property
    def factor(self) -> float | list[float]:
        """One number where all slices share it, else a list by slice."""
        return self.factors[0] if len(set(self.factors)) == 1 else list(self.factors)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the factors, as JSON values; holds no date, no time of day and no name."""
        rounded = {"uptake_min": 2, "dose_mbq": 3, "weight_kg": 2, "half_life_s": 1}
        out: dict[str, Any] = {}
        for name in (*self.__dataclass_fields__,):
            value = getattr(self, name)
            if name != "factors":
                out[name] = list(value) if isinstance(value, tuple) else value
            if name in rounded and value is not None:
                out[name] = round(value, rounded[name])
        return out

    def describe(self) -> str:
        """One line."""
        parts = [f"{self.units}: {self.rule}"]
        if self.dose_mbq is not None:
            parts.append(f"{self.dose_mbq:.4g} MBq {self.nuclide}, {self.weight_kg:.4g} kg")
        if self.uptake_min is not None:
            parts.append(f"uptake {self.uptake_min:.1f} min (injection from {self.injection})")
        if self.reference:
            parts.append(f"reference time: {self.reference}")
        return "; ".join(parts)


def derive_suv(headers: Sequence[Header], tracer: Tracer | None = None) -> SuvDerivation:
    """SUV (body weight) of a PET series.

    Parameters
    ----------
    headers
        Of all its slices, in the order that the factors are wanted in.
    tracer
        Bounds of the dose depend on it; None where it is not known.

    Returns
    -------
    SuvDerivation
        Factors for rescaled values.

    Raises
    ------
    InputError
        One line: which tag, what it holds, what to do.
    """
    if not headers:
        raise ValueError("a series of no slices has no SUV")
    reads: set[str] = set()
    headers = [replace(header, reads=reads) for header in headers]
    check_corrections(headers)
    units = shared(headers, "Units").upper()
    rules: dict[str, Callable[[Sequence[Header], Tracer | None], SuvDerivation]] = {
        "BQML": _of_activity,
        "CNTS": _of_counts,
        "GML": _of_suv,
    }
    if units not in rules:
        held = f"is {units}" if units else "is missing"
        remedy = f"export the series in BQML; taken are {', '.join(rules)}"
        raise headers[0].refuse("Units", held, remedy)
    found = rules[units](headers, tracer)
    return replace(found, tags=tuple(sorted(reads)))


def check_corrections(headers: Sequence[Header]) -> None:
    """Refuse a PET that is not corrected for attenuation, or whose tags contradict each other about decay.

    Raises
    ------
    InputError
        Names the tag.
    """
    first = headers[0]
    corrected = shared(headers, "CorrectedImage").upper().split("\\")
    decay = shared(headers, "DecayCorrection").upper()
    if corrected == [""]:
        raise first.refuse("CorrectedImage", "is missing", "give the attenuation-corrected series, with its tags")
    if "ATTN" not in corrected:
        raise first.refuse(
            "CorrectedImage", "lists no ATTN: not attenuation-corrected", "give the attenuation-corrected series"
        )
    if shared(headers, "AttenuationCorrectionMethod").upper() == "NONE":
        raise first.refuse("AttenuationCorrectionMethod", "is NONE", "give the attenuation-corrected series")
    if decay in ("START", "ADMIN") and "DECY" not in corrected:
        raise first.refuse("DecayCorrection", f"is {decay}, but CorrectedImage lists no DECY", EXPORT_AGAIN)
    if decay == "NONE" and "DECY" in corrected and not _undecayed(headers):
        raise first.refuse("DecayCorrection", "is NONE, but CorrectedImage lists DECY", EXPORT_AGAIN)


def _undecayed(headers: Sequence[Header]) -> bool:
    """Whether DecayFactor, the third witness, says that nothing was corrected."""
    return all(header.number("DecayFactor") == 1.0 for header in headers)


def _of_activity(headers: Sequence[Header], tracer: Tracer | None) -> SuvDerivation:
    """Bq/ml: weight over the dose that is left, after DecayCorrection."""
    first, decay = headers[0], shared(headers, "DecayCorrection").upper()
    if decay not in ("START", "ADMIN", "NONE"):
        raise first.refuse("DecayCorrection", f"is {decay}" if decay else "is missing", EXPORT_AGAIN)
    item = injection_item(headers)
    weight, of_weight = weight_kg(headers)
    half_life = half_life_of(item)
    dose, of_dose = dose_bq(item, half_life.nuclide, tracer)
    base = SuvDerivation(
        (1000 * weight / dose,) * len(headers),
        "BQML",
        "weight / dose at injection",
        decay,
        dose_mbq=dose / 1e6,
        weight_kg=weight,
        half_life_s=half_life.seconds,
        nuclide=half_life.nuclide,
        warnings=(*of_weight, *half_life.warnings, *of_dose),
    )
    if decay == "ADMIN":
        found = _admin(base, headers, item)
    elif decay == "NONE":
        found = _none(base, headers, item)
    else:
        found = _start(base, headers, item)
    return _with_philips_check(found, headers)


def _start(base: SuvDerivation, headers: Sequence[Header], item: Header) -> SuvDerivation:
    half_life_s = base.half_life_s or math.nan
    reference = reference_of(headers, half_life_s)
    injection = injection_before(item, reference.moment, base.nuclide, headers[0])
    left = 2 ** (-injection.uptake_s / half_life_s)
    return replace(
        base,
        factors=tuple(factor / left for factor in base.factors),
        rule="weight / (dose at injection, decayed to the reference time)",
        reference=reference.rule,
        injection=injection.source,
        uptake_min=injection.uptake_s / 60,
        checks=base.checks + reference.checks,
        warnings=base.warnings + reference.warnings + injection.warnings,
    )


def _admin(base: SuvDerivation, headers: Sequence[Header], item: Header) -> SuvDerivation:
    """The image is corrected to the injection: no time enters; where there are times they must be possible."""
    try:
        first = min(acquisition_moments(headers))
        timed = any(item.text(f"RadiopharmaceuticalStart{kind}") for kind in ("Time", "DateTime"))
    except InputError:
        timed = False
    if not timed:
        return replace(base, warnings=(*base.warnings, "no times to check the uptake by"))
    injection = injection_before(item, first, base.nuclide, headers[0])
    return replace(
        base,
        injection=injection.source,
        uptake_min=injection.uptake_s / 60,
        warnings=base.warnings + injection.warnings,
    )


def _none(base: SuvDerivation, headers: Sequence[Header], item: Header) -> SuvDerivation:
    """Nothing is corrected: each slice by its own acquisition and frame."""
    decay = math.log(2) / (base.half_life_s or math.nan)
    acquired = acquisition_moments(headers)
    first = min(acquired)
    injection = injection_before(item, first, base.nuclide, headers[0])
    factors = []
    for header, at, factor in zip(headers, acquired, base.factors, strict=True):
        duration_ms = header.number("ActualFrameDuration")
        if duration_ms is None or duration_ms <= 0:
            raise header.refuse("ActualFrameDuration", "is missing, and the image is not corrected for decay")
        during = decay * duration_ms / 1000
        since_s = injection.uptake_s + (at - first).total_seconds()
        factors.append(factor * during / -math.expm1(-during) * math.exp(decay * since_s))
    warnings = base.warnings + injection.warnings
    if "DECY" in shared(headers, "CorrectedImage").upper().split("\\"):
        said = f"{tag_of('CorrectedImage')} lists DECY, {tag_of('DecayCorrection')} is NONE and "
        warnings += (said + f"{tag_of('DecayFactor')} 1: taken as not corrected for decay",)
    return replace(
        base,
        factors=tuple(factors),
        rule="weight / dose at injection, each slice corrected for decay since the injection and within its frame",
        reference=f"{tag_of('AcquisitionTime')} of each slice",
        injection=injection.source,
        uptake_min=injection.uptake_s / 60,
        warnings=warnings,
    )


def _of_counts(headers: Sequence[Header], tracer: Tracer | None) -> SuvDerivation:
    """Counts: Philips's factor to SUV, or its factor to Bq/ml and on from there."""
    odd = philips.unclaimed(headers[0])
    to_suv = philips.suv_factors(headers)
    if to_suv is not None:
        rule = "Philips's SUV factor (7053,1000)"
        return SuvDerivation(to_suv, "CNTS", rule, warnings=odd + _undecayed_warning(headers))
    to_activity = philips.activity_factors(headers)
    if to_activity is None:
        found = "is CNTS, without Philips's factors (7053,1000) or (7053,1009)"
        raise headers[0].refuse("Units", found, "export the series in BQML")
    suv = _of_activity(headers, tracer)
    return replace(
        suv,
        factors=tuple(a * b for a, b in zip(to_activity, suv.factors, strict=True)),
        units="CNTS",
        rule=f"Philips's factor to Bq/ml (7053,1009), then {suv.rule}",
        warnings=odd + suv.warnings,
    )


def _with_philips_check(suv: SuvDerivation, headers: Sequence[Header]) -> SuvDerivation:
    check, warning = philips.second_opinion(headers, suv.factors)
    return replace(suv, checks=suv.checks + check, warnings=suv.warnings + warning)


def _of_suv(headers: Sequence[Header], _tracer: Tracer | None) -> SuvDerivation:
    """SUV already, if of body weight."""
    kind = shared(headers, "SUVType").upper()
    if kind not in ("", "BW"):
        raise headers[0].refuse("SUVType", f"is {kind}, not body weight (BW)", "export the series as SUVbw or in BQML")
    warnings: tuple[str, ...] = (
        () if kind else (f"{tag_of('SUVType')} is empty: body weight (BW) taken, as the standard says",)
    )
    warnings += _undecayed_warning(headers)
    return SuvDerivation((1.0,) * len(headers), "GML", "SUV (body weight) already", warnings=warnings)


def _undecayed_warning(headers: Sequence[Header]) -> tuple[str, ...]:
    """The scanner's own SUV is taken as it is, but it should be of a decay-corrected image."""
    if shared(headers, "DecayCorrection").upper() in ("START", "ADMIN"):
        return ()
    return (f"{tag_of('DecayCorrection')} is missing or NONE: the scanner's SUV is taken as it is",)

"""A second visit against the first: volumes, new lesions after registration, and RECIP 1.0.

RECIP 1.0 (Gafita et al., J Nucl Med 2022;63:1651; recip-criteria.com) takes the change of the PSMA volume and whether
there is a new lesion. The two PSMA PETs are registered rigidly to each other; a lesion is new if no disease of the
first visit lies within `NEW_LESION_MM` of it. The category is computed from the masks as they are, reviewed or not:
it is a figure for the reader, who decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.resampling import resample_image
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.preprocessing.registration import register
from deeppsma.reporting.case_result import CaseResult, TracerResult, load_case_result
from deeppsma.reporting.content import BANNER
from deeppsma.reporting.lesion_table import Lesion, LesionTable, lesion_table

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Published limits of RECIP 1.0: a fall and a rise of the volume, shares.
RECIP_FALL, RECIP_RISE = 0.30, 0.20
#: A lesion farther than this from the first visit's disease is new; a choice of this program: none is published.
NEW_LESION_MM = 10.0
#: Repeatability coefficient of a patient's PSMA volume, per cent (Jansen et al., 18F-DCFPyL).
REPEATABILITY_PERCENT = 17.0
#: Below this correlation of the registered PETs, the registration is not to be trusted.
_CORRELATION_MIN = 0.6
_REGISTRATION_MM = 6.0
COMPARISON_NAME = "comparison.json"


@dataclass(frozen=True)
class Comparison:
    """Two visits.

    Parameters
    ----------
    volume_before_ml, volume_after_ml
        PSMA volumes.
    new
        Lesions of the second visit that lie near none of the first; without small foci.
    new_small
        The same for foci below the size of a lesion: listed, and not counted for RECIP.
    gone
        Lesions of the first visit near which the second has none.
    correlation
        Of the registered images; 1 is perfect.
    registered_by
        On what the registration rests, with its quality.
    """

    volume_before_ml: float
    volume_after_ml: float
    new: tuple[Lesion, ...]
    new_small: tuple[Lesion, ...]
    gone: tuple[Lesion, ...]
    correlation: float
    registered_by: str = ""

    @property
    def change(self) -> float:
        """Change of the volume as a share of the first; infinite from none to some, 0 from none to none."""
        if self.volume_before_ml == 0:
            return float("inf") if self.volume_after_ml else 0.0
        return self.volume_after_ml / self.volume_before_ml - 1

    @property
    def recip(self) -> str:
        """Category of RECIP 1.0 from these figures."""
        return recip(self.volume_after_ml, self.change, bool(self.new))

    def lines(self) -> list[str]:
        """The comparison in words, a line each."""
        change = "from none" if np.isinf(self.change) else f"{self.change:+.0%}".replace("%", " %")
        within = abs(self.change) * 100 <= REPEATABILITY_PERCENT
        steady = f"; within the repeatability of {REPEATABILITY_PERCENT:.0f} %" if within else ""
        lines = [
            BANNER,
            f"PSMA volume {self.volume_before_ml:.1f} ml, then {self.volume_after_ml:.1f} ml ({change}{steady})",
            f"new lesions: {_listed(self.new)}",
            f"new small foci (not counted): {_listed(self.new_small)}",
            f"no longer seen: {_listed(self.gone)}",
            f"visits registered by {self.registered_by}",
            f"RECIP 1.0 from these figures: {self.recip}; a reader decides (J Nucl Med 2022;63:1651)",
        ]
        if self.correlation < _CORRELATION_MIN:
            lines.append(f"registration doubtful (correlation {self.correlation:.2f}): check the new lesions by eye")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "notice": BANNER,
            "psma_volume_ml": [self.volume_before_ml, self.volume_after_ml],
            "change_percent": None if np.isinf(self.change) else round(100 * self.change, 2),
            "new_lesions": [x.id for x in self.new],
            "new_small_foci": [x.id for x in self.new_small],
            "no_longer_seen": [x.id for x in self.gone],
            "new_lesion_mm": NEW_LESION_MM,
            "registered_by": self.registered_by,
            "registration_correlation": round(self.correlation, 4),
            "recip_1_0": self.recip,
            "repeatability_percent": REPEATABILITY_PERCENT,
        }


def recip(volume_after_ml: float, change: float, new_lesion: bool) -> str:
    """RECIP 1.0: CR, PR, SD or PD.

    Parameters
    ----------
    volume_after_ml
        PSMA volume of the second visit.
    change
        As a share of the first visit's volume.
    new_lesion
        Whether there is one.
    """
    if volume_after_ml == 0:
        return "CR"
    if change <= -RECIP_FALL and not new_lesion:
        return "PR"
    return "PD" if change >= RECIP_RISE and new_lesion else "SD"


def compare_folders(before: Path, case_before: Case, after: Path, case_after: Case) -> Comparison:
    """Compare two stored results.

    Raises
    ------
    InputError
        If one of them has no PSMA result.
    """
    results = [load_case_result(before, case_before), load_case_result(after, case_after)]
    for result, out in zip(results, (before, after), strict=True):
        if Tracer.PSMA not in result.scans:
            raise InputError(out, "no PSMA mask there", "compare visits that both have a PSMA PET")
    return compare(results[0], results[1])


def compare(before: CaseResult, after: CaseResult) -> Comparison:
    """Compare two visits' PSMA results."""
    first, second = (lesion_table(_psma_alone(result)) for result in (before, after))
    after_to_before, correlation, by = register_visits(after.scans[Tracer.PSMA], before.scans[Tracer.PSMA])
    appeared = _apart(second, first, after_to_before)
    gone = _apart(first, second, after_to_before.inverse())
    volumes = [sum(x.volume_ml for x in table.lesions) for table in (first, second)]
    new, small = (tuple(x for x in appeared if x.small is is_small) for is_small in (False, True))
    return Comparison(volumes[0], volumes[1], new, small, tuple(gone), correlation, by)


def write_comparison(found: Comparison, out: Path) -> Path:
    """Write ``comparison.json`` into a result's folder."""
    write_json(out / COMPARISON_NAME, found.as_dict())
    return out / COMPARISON_NAME


def register_visits(fixed: TracerResult, moving: TracerResult) -> tuple[RigidTransform, float, str]:
    """Rigid map of the fixed visit's points to the moving one's: by the CTs' bones, or, failing that, by the PETs.

    Returns
    -------
    transform, correlation, by
        The map, the correlation of the images after it, and what it rests on, in words.
    """
    why = "no CT of both visits"
    if fixed.ct is not None and moving.ct is not None:
        found = register(fixed.ct, moving.ct, fixed.organs, moving.organs)
        if not found.quality.failure:
            return found.transform, found.quality.correlation, f"bones of the CTs ({found.quality.describe()})"
        why = f"the CTs could not be registered ({found.quality.failure})"
    transform, correlation = register_pets(fixed.pet, moving.pet)
    return transform, correlation, f"the PETs themselves, because {why}; correlation {correlation:.2f}"


def register_pets(fixed: Volume, moving: Volume) -> tuple[RigidTransform, float]:
    """Rigid map of ``fixed``'s points to ``moving``'s, and the correlation of the two after it.

    PETs of one tracer look alike: correlation of log SUV on a coarse grid.
    """
    import SimpleITK as sitk

    images = [_for_registration(volume) for volume in (fixed, moving)]
    start = sitk.CenteredTransformInitializer(
        images[0], images[1], sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(start)
    method.Execute(images[0], images[1])
    found = sitk.Euler3DTransform(method.GetInitialTransform())
    # ITK's correlation metric is the negative square.
    correlation = math.sqrt(max(0.0, -float(method.GetMetricValue())))
    transform = RigidTransform(found.GetMatrix(), found.GetTranslation(), found.GetCenter())
    return transform, correlation


def _for_registration(volume: Volume) -> sitk.Image:
    import SimpleITK as sitk

    whole = volume.geometry.axis_aligned()
    factor = max(1, round(_REGISTRATION_MM / whole.spacing_zyx[0]))
    grid = whole.coarsened((factor, factor, factor))
    return sitk.Log(resample_image(volume.to_sitk(), grid, RigidTransform()) + 1.1)


def _psma_alone(result: CaseResult) -> CaseResult:
    scans = {Tracer.PSMA: result.scans[Tracer.PSMA]}
    return CaseResult(result.name, scans, None, result.run_report, result.synthetic)


def _apart(table: LesionTable, other: LesionTable, there: RigidTransform) -> list[Lesion]:
    """Lesions that lie farther than `NEW_LESION_MM` from all disease of the other visit."""
    from scipy.spatial import cKDTree

    points, numbers = table.maps[Tracer.PSMA].points()
    others, _ = other.maps[Tracer.PSMA].points()
    if not len(others):
        return list(table.lesions)
    if not len(points):
        return []
    distance, _ = cKDTree(others).query(there.apply(points), distance_upper_bound=NEW_LESION_MM * (1 + 1e-9))
    near: Mapping[int, bool] = {int(n): True for n in np.unique(numbers[np.isfinite(distance)])}
    return [lesion for lesion in table.lesions if lesion.number not in near]


def _listed(lesions: tuple[Lesion, ...]) -> str:
    return ", ".join(f"{x.id} {x.naming.first.text} ({x.volume_ml:.1f} ml)" for x in lesions) or "none"

"""A segmentation that can show itself: what `deeppsma.segment` gives to people who program."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.defaults import DEFAULT_RECIPE
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.io.case import Case
from deeppsma.pipeline import segment as pipeline
from deeppsma.pipeline.segment import Segmentation
from deeppsma.preprocessing.dicom_case import open_case
from deeppsma.reporting.pictures import kind_of_patient
from deeppsma.reporting.report_files import Report, report

if TYPE_CHECKING:
    from deeppsma.inference.ensemble import ProgressBar
    from deeppsma.models.store import WeightsStore
    from deeppsma.pipeline.recipe import Recipe


@dataclass(frozen=True)
class Reading(Segmentation):
    """A `Segmentation` with the case that it was made of.

    Parameters
    ----------
    case
        What was segmented.
    synthetic
        Whether the phantom is known to have made the patient; pages say so.
    """

    case: Case = field(kw_only=True)
    synthetic: bool = field(default=False, kw_only=True)

    def reading(self, with_ct: bool = True) -> Report:
        """The report: shows itself in a notebook; ``save(OUT)`` writes its page, PDF and tables beside the masks.

        Parameters
        ----------
        with_ct
            Whether the page holds the CT, which shows the face.
        """
        return report(self.case, self.masks, self.report.as_dict(), self.synthetic, with_ct)

    def report_html(self, with_ct: bool = True) -> str:
        """The report's page as text: one HTML document that loads nothing.

        Parameters
        ----------
        with_ct
            Whether the page holds the CT, which shows the face.
        """
        return self.reading(with_ct).html


def segment(
    case: Case | Path | str,
    recipe: Recipe | str = DEFAULT_RECIPE,
    weights: WeightsStore | Path | str | None = None,
    device: str = "auto",
    progress: ProgressBar | None = None,
    watch: Stopwatch | None = None,
    with_probabilities: bool = False,
    mirrored: bool | None = None,
) -> Reading:
    """Segment a case.

    Parameters
    ----------
    case
        A case, or the folder of one; DICOM, too.
    recipe, weights, device, progress, watch, with_probabilities, mirrored
        See `deeppsma.pipeline.segment.segment`.

    Returns
    -------
    Reading
        Masks, run report, and on request the page. Where no voxel reaches its threshold, the masks are empty.

    Raises
    ------
    DeepPsmaError
        One line that names the cause and the remedy.

    Examples
    --------
    >>> result = deeppsma.segment("CASE")  # doctest: +SKIP
    >>> page = result.report_html()  # doctest: +SKIP
    """
    watch = watch or Stopwatch()
    with watch.stage("read headers"):
        opened = case if isinstance(case, Case) else open_case(case)
    found = pipeline.segment(opened, recipe, weights, device, progress, watch, with_probabilities, mirrored=mirrored)
    synthetic = not isinstance(case, Case) and bool(kind_of_patient(Path(case)))
    return Reading(found.masks, found.report, found.probabilities, found.foci, case=opened, synthetic=synthetic)

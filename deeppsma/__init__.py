"""Prostate cancer on PSMA and FDG PET/CT: finds the disease on both scans.

>>> import deeppsma
>>> result = deeppsma.segment("CASE")  # doctest: +SKIP
>>> result.save("OUT")  # doctest: +SKIP

`segment` takes the folder of a case, or a `Case` made by `load_case`, `Case.from_files` or `Case.from_images`; it gives
a `Reading`: masks on the PETs' exact grids, a `RunReport`, and on request the page that people look at. `CaseRun` opens
a case once and applies any number of `Method`s (a `Recipe` with the networks that fill it).

Not for clinical use.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deeppsma._version import __version__

if TYPE_CHECKING:
    from deeppsma.core.errors import DeepPsmaError as DeepPsmaError
    from deeppsma.core.errors import InputError as InputError
    from deeppsma.core.geometry import Geometry as Geometry
    from deeppsma.core.tracer import Tracer as Tracer
    from deeppsma.core.transforms import RigidTransform as RigidTransform
    from deeppsma.core.volume import Volume as Volume
    from deeppsma.io.case import Case as Case
    from deeppsma.io.case import Study as Study
    from deeppsma.io.layouts import load_case as load_case
    from deeppsma.io.transform_files import read_challenge_transform as read_challenge_transform
    from deeppsma.io.transform_files import read_tfm as read_tfm
    from deeppsma.models.store import WeightsStore as WeightsStore
    from deeppsma.pipeline.case_run import CaseRun as CaseRun
    from deeppsma.pipeline.method import Method as Method
    from deeppsma.pipeline.recipe import Recipe as Recipe
    from deeppsma.pipeline.recipe import load_recipe as load_recipe
    from deeppsma.pipeline.run_report import RunReport as RunReport
    from deeppsma.pipeline.segment import Segmentation as Segmentation
    from deeppsma.reporting.reading import Reading as Reading
    from deeppsma.reporting.reading import segment as segment
    from deeppsma.reporting.report_files import Report as Report
    from deeppsma.reporting.report_files import report as report

# A library is silent until somebody listens.
logging.getLogger(__name__).addHandler(logging.NullHandler())

#: What a researcher needs, and where it lives. Loaded when first asked for: the command line starts without it.
_EXPORTS = {
    "Case": "io.case",
    "CaseRun": "pipeline.case_run",
    "DeepPsmaError": "core.errors",
    "Geometry": "core.geometry",
    "InputError": "core.errors",
    "Method": "pipeline.method",
    "Reading": "reporting.reading",
    "Recipe": "pipeline.recipe",
    "Report": "reporting.report_files",
    "RigidTransform": "core.transforms",
    "RunReport": "pipeline.run_report",
    "Segmentation": "pipeline.segment",
    "Study": "io.case",
    "Tracer": "core.tracer",
    "Volume": "core.volume",
    "WeightsStore": "models.store",
    "load_case": "io.layouts",
    "load_recipe": "pipeline.recipe",
    "read_challenge_transform": "io.transform_files",
    "read_tfm": "io.transform_files",
    "report": "reporting.report_files",
    "segment": "reporting.reading",
}
__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 - names, every one


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'deeppsma' has no attribute {name!r}")
    return getattr(import_module(f"deeppsma.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

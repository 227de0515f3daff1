"""Prostate cancer on PSMA and FDG PET/CT: finds the disease on both scans.

>>> from deeppsma import WeightsStore, load_case, load_recipe, segment
>>> result = segment(load_case("CASE"), load_recipe("bothways"), WeightsStore.default())  # doctest: +SKIP

Not for clinical use.
"""

from deeppsma._version import __version__
from deeppsma.core.errors import DeepPsmaError, InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case, Study, load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Recipe, load_recipe
from deeppsma.pipeline.segment import Segmentation, segment

__all__ = [
    "Case",
    "DeepPsmaError",
    "Geometry",
    "InputError",
    "Recipe",
    "Segmentation",
    "Study",
    "Tracer",
    "Volume",
    "WeightsStore",
    "__version__",
    "load_case",
    "load_recipe",
    "segment",
]

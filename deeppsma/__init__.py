"""Prostate cancer on PSMA and FDG PET/CT: finds the disease on both scans.

>>> from deeppsma import WeightsStore, load_case, load_recipe, segment
>>> result = segment(load_case("CASE"), load_recipe("bothways"), WeightsStore.default())  # doctest: +SKIP

Not for clinical use.
"""

from deeppsma._version import __version__
from deeppsma.case import Case, Study, load_case
from deeppsma.errors import DeepPsmaError, InputError
from deeppsma.geometry import Geometry
from deeppsma.images import Volume
from deeppsma.recipe import Recipe, load_recipe
from deeppsma.segment import Segmentation, segment
from deeppsma.store import WeightsStore
from deeppsma.tracer import Tracer

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

"""Which FDG lesions stay: a logistic model of PSMA support, volume and SUVmax, with rules around it.

PaIRe report, section 4.3. A lesion stays if it lies wholly outside labelled organs, if it is large, or if the model
says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import from_plain, names, read_json, resources_folder
from deeppsma.postprocessing.lesions import MATCHES, Lesion

KIND = "refinement"


@dataclass(frozen=True)
class LesionClassifier:
    """A logistic model with the rules around it.

    Parameters
    ----------
    match
        "organ": PSMA disease lies in an organ of the same label. "space": it
        lies within ``radius_mm`` of the lesion.
    intercept, psma, log_volume, suv_max
        Coefficients; of 1 or 0, ln(volume in ml + 1), SUV.
    cutoff
        Score from which on a lesion stays.
    keep_above_ml
        A larger lesion stays whatever its score.
    radius_mm
        Of "space".
    summary, source, trained_on, figures
        For people; what cross-validation said.
    """

    match: str
    intercept: float
    psma: float
    log_volume: float
    suv_max: float
    cutoff: float = 0.5
    keep_above_ml: float = 7.0
    radius_mm: float = 0.0
    summary: str = ""
    source: str = ""
    trained_on: str = "unknown data"
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.match not in MATCHES:
            raise ValueError(f"match must be one of {', '.join(MATCHES)}, not {self.match!r}")
        numbers = (self.intercept, self.psma, self.log_volume, self.suv_max)
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            raise ValueError(f"coefficients must be finite numbers, not {numbers}")
        if not 0 < self.cutoff < 1 or self.keep_above_ml < 0:
            raise ValueError("the cutoff must be between 0 and 1, and keep_above_ml not negative")
        if (self.radius_mm > 0) != (self.match == "space"):
            raise ValueError("radius_mm belongs to match = space, and must be above 0 there")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LesionClassifier:
        """Model from JSON.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        return from_plain(cls, content)

    def score(self, lesion: Lesion) -> float:
        """Probability that a lesion is disease."""
        log_volume = math.log(lesion.volume_ml + 1)
        x = self.intercept + self.psma * lesion.psma + self.log_volume * log_volume + self.suv_max * lesion.suv_max
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def verdict(self, lesion: Lesion) -> str:
        """Why a lesion stays; empty if it goes."""
        if not lesion.labels:
            return "outside organs"
        if lesion.volume_ml > self.keep_above_ml:
            return "large"
        return "score" if self.score(lesion) >= self.cutoff else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def load_classifier(name: str) -> LesionClassifier:
    """The model of ``resources/refinement/{name}.json``, or of a file (a name that ends in ``.json``).

    Raises
    ------
    ConfigurationError
        If there is none of that name, or it makes no sense.
    """
    path = Path(name) if name.endswith(".json") else resources_folder() / KIND / f"{name}.json"
    if not path.is_file():
        there = ", ".join(names(KIND, "json"))
        raise ConfigurationError(KIND, f"no {name!r} there", f"choose one of {there}")
    content = read_json(path, "mend the file", ConfigurationError)
    try:
        return LesionClassifier.from_dict(content)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(path, str(error), "mend the file") from None

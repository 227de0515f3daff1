"""A hospital's own rules: which series to take where several would do, as a TOML file.

Every key may be left out::

    pet = ["EARL", "AC"]            # regular expressions on SeriesDescription; the first that leaves one PET decides
    ct = ["CT WB"]
    psma = ["PSMA", "PYL"]          # a PET whose description matches shows PSMA, whatever else its header says
    fdg = ["FDG"]
    days_apart_max = 60             # sessions farther apart are refused
    incomplete = false              # take series with fewer slices than their headers say
    other_patient_id = false        # take two sessions whose PatientID differs
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import from_plain
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.series import SeriesFiles


@dataclass(frozen=True)
class Site:
    """Rules of a site, and what the user said on the command line.

    Parameters
    ----------
    pet, ct
        Regular expressions on SeriesDescription, best first.
    psma, fdg
        Regular expressions on SeriesDescription that tell the tracer.
    days_apart_max
        Between the sessions; None for no limit.
    incomplete
        Whether a series may have fewer slices than it says.
    other_patient_id
        Whether the sessions' PatientID may differ.
    tracers
        ``SERIES=psma`` or ``SERIES=fdg``: SeriesInstanceUID or its end, and its tracer.
    """

    pet: tuple[str, ...] = ()
    ct: tuple[str, ...] = ()
    psma: tuple[str, ...] = ()
    fdg: tuple[str, ...] = ()
    days_apart_max: float | None = None
    incomplete: bool = False
    other_patient_id: bool = False
    tracers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.pet, *self.ct, *self.psma, *self.fdg):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        if self.days_apart_max is not None and not self.days_apart_max > 0:
            raise ValueError(f"days_apart_max must be positive, not {self.days_apart_max}")
        for override in self.tracers:
            series, _, tracer = override.rpartition("=")
            if not series or tracer not in tuple(Tracer):
                raise ValueError(f"a tracer is SERIES=psma or SERIES=fdg, not {override!r}")

    def tracer_of(self, files: SeriesFiles) -> Tracer | None:
        """The tracer that the user or the site says a series shows; None where neither does."""
        for override in self.tracers:
            series, _, tracer = override.rpartition("=")
            if files.uid.endswith(series):
                return Tracer(tracer)
        description = files.first.text("SeriesDescription")
        for tracer, patterns in ((Tracer.PSMA, self.psma), (Tracer.FDG, self.fdg)):
            if any(re.search(pattern, description, re.IGNORECASE) for pattern in patterns):
                return tracer
        return None


def read_site(path: Path | None, tracers: tuple[str, ...] = ()) -> Site:
    """A site's rules from a TOML file, with overrides of tracers from the command line.

    Parameters
    ----------
    path
        None for no file.
    tracers
        As `Site` has them.

    Raises
    ------
    ConfigurationError
        If the file is not there, no TOML, or holds something that makes no sense.
    """
    content = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(path, f"not readable as TOML ({error})", "give the site file") from None
    try:
        return from_plain(Site, {**content, "tracers": (*content.get("tracers", ()), *tracers)})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(path or "--tracer", str(error), "mend it") from None

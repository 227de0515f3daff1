"""One page about a cohort: how many cases ended how, distributions, outliers, a small picture of every patient.

A single file without script that loads nothing; names and lines come from files, and are escaped.
"""

from __future__ import annotations

import base64
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deeppsma.core.errors import OutputError
from deeppsma.core.settings import resources_folder
from deeppsma.core.tracer import Tracer
from deeppsma.core.whole_files import whole_file
from deeppsma.io.result_folder import REPORT_NAME
from deeppsma.operation.cohort.case_files import THUMBNAIL_NAME
from deeppsma.operation.cohort.histogram import histogram_svg
from deeppsma.operation.cohort.ledger import Account, Ledger, Outcome
from deeppsma.operation.cohort.tables import CaseLine
from deeppsma.reporting.report_files import HTML_NAME

SUMMARY_NAME = "summary.html"
#: A page of more pictures than that (10 kB each, at most) opens too slowly.
MOST_PICTURES = 1000
_MOST_LINES = 300
#: Outliers lie so many interquartile ranges beyond the quartiles (Tukey), on the scale that is drawn.
_FENCE = 1.5
_LEAST_FOR_OUTLIERS = 8


@dataclass(frozen=True)
class Quantity:
    """A figure that every case that is done has one of.

    Parameters
    ----------
    label
        With unit.
    logarithmic
        Whether it is looked at as log(1 + value).
    """

    label: str
    logarithmic: bool = True

    def scaled(self, value: float) -> float:
        """On the scale that is drawn."""
        return math.log1p(value) if self.logarithmic else value


SECONDS = Quantity("seconds a case", logarithmic=False)
VOLUMES = {tracer: Quantity(f"{tracer.upper()} volume, ml") for tracer in Tracer}
COUNTS = {tracer: Quantity(f"{tracer.upper()} components") for tracer in Tracer}
QUANTITIES = (*VOLUMES.values(), *COUNTS.values(), SECONDS)


@dataclass(frozen=True)
class Outlier:
    """A case far from the others.

    Parameters
    ----------
    name
        Of the case.
    label
        Which figure.
    value
        Its own.
    median
        Of all.
    """

    name: str
    label: str
    value: float
    median: float


@dataclass
class Gathered:
    """What the page needs of each case, in the order of names."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    lines: list[tuple[str, Outcome, str]] = field(default_factory=list)
    values: dict[str, dict[str, float]] = field(default_factory=lambda: {each.label: {} for each in QUANTITIES})
    devices: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)

    def add(self, line: CaseLine) -> None:
        """Take a case in."""
        self.outcomes[line.name] = line.outcome
        if line.record is None or line.outcome is not Outcome.DONE:
            self.lines.append((line.name, line.outcome, line.record.line if line.record is not None else "not run yet"))
            return
        self.devices[line.record.device] += 1
        self.fallbacks.update(set(line.report.get("fallbacks", ())) | set(line.record.notes))
        self.values[SECONDS.label][line.name] = line.record.seconds
        for tracer in Tracer:
            for quantity, name in ((VOLUMES[tracer], "volume_ml"), (COUNTS[tracer], "components")):
                value = line.figure(tracer, name)
                if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
                    self.values[quantity.label][line.name] = float(value)

    def passing(self, lines: Iterable[CaseLine]) -> Iterator[CaseLine]:
        """The same cases for somebody else, taken in as they pass: each is read once."""
        for line in lines:
            self.add(line)
            yield line


def write_summary(ledger: Ledger, gathered: Gathered) -> Path:
    """Write the page.

    Parameters
    ----------
    ledger
        Of the cohort's folder, which it goes to.
    gathered
        All its cases.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = ledger.out / SUMMARY_NAME
    try:
        with whole_file(path) as partial:
            partial.write_text(summary_html(ledger, gathered), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        found = f"cannot be written ({error.strerror})"
        raise OutputError(path, found, "check the folder's free space and rights") from None
    return path


def outliers(gathered: Gathered) -> list[Outlier]:
    """Cases beyond Tukey's fences in any figure, the farthest first; of fewer than eight cases none can be told."""
    found: list[tuple[float, Outlier]] = []
    for quantity in QUANTITIES:
        values = gathered.values[quantity.label]
        if len(values) < _LEAST_FOR_OUTLIERS:
            continue
        scaled = {name: quantity.scaled(value) for name, value in values.items()}
        first, _, third = statistics.quantiles(scaled.values(), n=4)
        width, median = third - first, statistics.median(values.values())
        for name, value in scaled.items():
            beyond = max(first - value, value - third)
            if beyond > _FENCE * width and beyond > 0:
                found.append((beyond / (width or 1.0), Outlier(name, quantity.label, values[name], median)))
    return [outlier for _, outlier in sorted(found, key=lambda each: -each[0])]


def summary_html(ledger: Ledger, gathered: Gathered) -> str:
    """The page's text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from deeppsma.reporting.content import BANNER
    from deeppsma.reporting.html import policy_hash

    folder = resources_folder() / "report"
    style = "".join((folder / name).read_text(encoding="utf-8") for name in ("style.css", "cohort.css"))
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    far = outliers(gathered)
    done = [name for name, outcome in gathered.outcomes.items() if outcome is Outcome.DONE]
    first = list(dict.fromkeys(outlier.name for outlier in far))
    pictured = [*first, *(name for name in done if name not in set(first))][:MOST_PICTURES]
    asked = ledger.asked()
    return environment.get_template(
        "cohort.html"
    ).render(
        banner=BANNER,
        style=Markup(style),  # noqa: S704 - our own files
        style_hash=Markup(policy_hash(style)),  # noqa: S704 - base64
        title=ledger.out.resolve().name,
        account=Account.of(gathered.outcomes),
        recipe=asked.recipe,
        version=asked.version,
        charts=[_chart(quantity, list(gathered.values[quantity.label].values())) for quantity in QUANTITIES],
        outliers=[{**vars(each), "href": _href(ledger, each.name)} for each in far[:_MOST_LINES]],
        more_outliers=max(0, len(far) - _MOST_LINES),
        lines=[(name, outcome.value, line) for name, outcome, line in gathered.lines[:_MOST_LINES]],
        more_lines=max(0, len(gathered.lines) - _MOST_LINES),
        devices=gathered.devices.most_common(),
        fallbacks=gathered.fallbacks.most_common(30),
        patients=[_patient(ledger, name, gathered) for name in pictured],
        more_patients=len(done) - len(pictured),
    )


def _chart(quantity: Quantity, values: Sequence[float]) -> dict[str, Any]:
    from markupsafe import Markup

    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else list(values) * 3
    said = f"median {quarters[1]:.3g}, quartiles {quarters[0]:.3g} and {quarters[2]:.3g}" if quarters else "none"
    svg = Markup(histogram_svg(values, quantity.label, quantity.logarithmic))  # noqa: S704 - numbers and our own labels
    return {"label": quantity.label, "svg": svg, "said": said}


def _patient(ledger: Ledger, name: str, gathered: Gathered) -> dict[str, Any]:
    try:
        picture = base64.b64encode((ledger.slot(name) / THUMBNAIL_NAME).read_bytes()).decode("ascii")
    except OSError:
        picture = ""
    of = [f"{t.upper()} {gathered.values[VOLUMES[t].label][name]:.1f} ml" for t in Tracer
          if name in gathered.values[VOLUMES[t].label]]  # fmt: skip
    return {"name": name, "picture": picture, "said": ", ".join(of), "href": _href(ledger, name)}


def _href(ledger: Ledger, name: str) -> str:
    """Where a case's report lies, or its run report, seen from the page."""
    there = HTML_NAME if (ledger.slot(name) / HTML_NAME).is_file() else REPORT_NAME
    return quote(f"cases/{name}/{there}")

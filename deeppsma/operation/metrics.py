"""Figures of a process that stays, in Prometheus's text format; no names of patients or files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from deeppsma._version import __version__

_BUCKETS_S = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


class Metrics:
    """Counts what comes in; safe to read from another thread.

    Parameters
    ----------
    labels
        Of the process, for ``deeppsma_info``: recipe, device.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = {"version": __version__, **labels}
        self._lock = threading.Lock()
        self._cases: dict[str, int] = {"done": 0, "failed": 0}
        self._stages: dict[str, float] = {}
        self._buckets = [0] * len(_BUCKETS_S)
        self._seconds = 0.0
        self._fallbacks = 0
        self.ready = self.busy = False

    def case(self, outcome: str, seconds: float, stages: Mapping[str, float] | None = None, fallbacks: int = 0) -> None:
        """Count a case: "done" or "failed"."""
        with self._lock:
            self._cases[outcome] = self._cases.get(outcome, 0) + 1
            self._seconds += seconds
            self._fallbacks += fallbacks
            for i, limit in enumerate(_BUCKETS_S):
                self._buckets[i] += seconds <= limit
            for stage, taken in (stages or {}).items():
                self._stages[stage] = self._stages.get(stage, 0.0) + taken

    def text(self) -> str:
        """All of it, as a scraper reads it."""
        with self._lock:
            total = sum(self._cases.values())
            lines = [
                "# TYPE deeppsma_info gauge",
                f"deeppsma_info{_labelled(self._labels)} 1",
                "# TYPE deeppsma_ready gauge",
                f"deeppsma_ready {int(self.ready)}",
                "# TYPE deeppsma_busy gauge",
                f"deeppsma_busy {int(self.busy)}",
                "# TYPE deeppsma_resident_bytes gauge",
                f"deeppsma_resident_bytes {resident_bytes()}",
                "# TYPE deeppsma_fallbacks_total counter",
                f"deeppsma_fallbacks_total {self._fallbacks}",
                "# TYPE deeppsma_cases_total counter",
                *(f"deeppsma_cases_total{_labelled({'outcome': name})} {n}" for name, n in self._cases.items()),
                "# TYPE deeppsma_case_seconds histogram",
                *(
                    f"deeppsma_case_seconds_bucket{_labelled({'le': f'{limit:g}'})} {n}"
                    for limit, n in zip(_BUCKETS_S, self._buckets, strict=True)
                ),
                f'deeppsma_case_seconds_bucket{{le="+Inf"}} {total}',
                f"deeppsma_case_seconds_sum {self._seconds:.3f}",
                f"deeppsma_case_seconds_count {total}",
                "# TYPE deeppsma_stage_seconds_total counter",
                *(f"deeppsma_stage_seconds_total{_labelled({'stage': s})} {t:.3f}" for s, t in self._stages.items()),
            ]
        return "\n".join(lines) + "\n"


def _labelled(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", " ")


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Memory that this process holds now; 0 where that cannot be told."""
    import resource

    try:
        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0

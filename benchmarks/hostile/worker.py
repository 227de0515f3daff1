"""Runs jobs in a process of its own, one after another, and says how each ended.

A line of JSON comes in, one goes out: what `guarded` returned, all that was
written to stderr (libraries' own lines too), masks and report. A crash ends
the process and a hang is ended by whoever started it; either way it is known
which job it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

#: So that a size from a spoilt header is refused by the system, not by the machine's other users.
MEMORY_LIMIT_BYTES = 8_000_000_000


def main() -> None:
    """Serve jobs until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is printed must not be taken for an answer
    for line in sys.stdin:
        answers.write(json.dumps(_served(json.loads(line))) + "\n")
        answers.flush()


def _served(job: dict[str, str]) -> dict[str, Any]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile(dir=job["scratch"]) as said:
        os.dup2(said.fileno(), 2)
        try:
            status, trace = _run(job)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        text = said.read().decode("utf-8", errors="replace")
    return {"status": status, "traceback": trace, "stderr": text, **_result(Path(job["out"]))}


def _run(job: dict[str, str]) -> tuple[int, str]:
    from deeppsma.cli.exit_status import guarded

    def work() -> None:
        from deeppsma.operation.job import Job, run_job

        weights = Path(job["weights"])
        run_job(Job(Path(job["case"]), Path(job["out"]), job["recipe"], "cpu", weights))

    try:
        return guarded(work), ""
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return 1, traceback.format_exc()


def _result(out: Path) -> dict[str, Any]:
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*")) if out.exists() else []
    masks = {name: _mask(out / name) for name in files if name.endswith(".mha")}
    report = out / "run_report.json"
    content = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    kept = {key: content[key] for key in ("fallbacks", "recipe") if key in content}
    return {"files": files, "masks": masks, "report": kept}


def _mask(path: Path) -> dict[str, Any]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    voxels = hashlib.sha256(sitk.GetArrayViewFromImage(image).tobytes()).hexdigest()
    return {
        "voxels": voxels,
        "grid": [*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()],
    }


if __name__ == "__main__":
    main()

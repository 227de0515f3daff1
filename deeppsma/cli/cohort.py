"""``deeppsma cohort`` and what is made of its results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.cli.options import add_device, add_weights, duration, request
from deeppsma.core.defaults import DEFAULT_RECIPE

if TYPE_CHECKING:
    from deeppsma.operation.cohort.ledger import Account
    from deeppsma.operation.cohort.run import CohortEnd

#: Reasons that are printed; all are in failures.csv.
_MOST_LINES = 20


def add_cohort(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``cohort``, ``cohort-tables`` and ``cohort-bids``."""
    command = commands.add_parser(
        "cohort",
        help="segment many cases, on this machine or a cluster",
        description="Segments every case of COHORT into OUT/cases/NAME, networks loaded once in each worker, and "
        "writes OUT/cases.csv, lesions.csv, failures.csv and summary.html. Every case is accounted for as done, "
        "refused (its files cannot be used), failed (a bug, its time was up, or it ended its worker) or left. "
        "Started again, it runs what is missing. Needs pip install 'deeppsma[cohort]'.",
    )
    command.add_argument("cohort", type=Path, metavar="COHORT", help="folder of cases, a folder each, in any layout")
    command.add_argument("out", type=Path, metavar="OUT", help="results; one folder holds those of one method")
    command.add_argument("--recipe", default=DEFAULT_RECIPE, help=f"see 'deeppsma recipes' (default {DEFAULT_RECIPE})")
    add_weights(command)
    add_device(command)
    command.add_argument(
        "--scheduler", default="", metavar="ADDRESS|FILE", help="of a Dask cluster (default: workers on this machine)"
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes on this machine (default: one a GPU, or one a two cores)"
    )
    command.add_argument("--report", action="store_true", help="also write each case's report, as 'deeppsma report'")
    command.add_argument("--retry-failed", action="store_true", help="run again what failed or was refused")
    command.add_argument(
        "--verify", action="store_true", help="hash files and results of what is done, instead of trusting their times"
    )
    command.add_argument(
        "--case-deadline",
        type=duration,
        metavar="TIME",
        help="90s, 25m, 1h: a case that takes longer is ended, and counts as failed; the rest goes on (default: none)",
    )
    command.add_argument("--tries", type=int, default=3, metavar="N", help="on a case that ends its worker (default 3)")
    group = command.add_argument_group("for DICOM", "said of every case; see docs/dicom.md")
    group.add_argument("--fdg-threshold", type=float, metavar="SUV", help="default: mean + 2 SD of the liver's core")
    group.add_argument("--psma-threshold", type=float, metavar="SUV", help="default: 3")
    group.add_argument("--site", type=Path, metavar="FILE", help="TOML: which series to take; see docs/dicom.md")
    command.set_defaults(run=_cohort)
    command = commands.add_parser(
        "cohort-tables",
        help="tables and summary page of a cohort's results, made anew",
        description="Writes OUT/cases.csv, lesions.csv and failures.csv (also as Parquet where pyarrow is installed) "
        "and OUT/summary.html from the cases' folders, at any time, also while a cohort is being run.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="OUT of 'deeppsma cohort'")
    command.set_defaults(run=_cohort_tables)
    command = commands.add_parser(
        "cohort-bids",
        help="a cohort's masks as a BIDS derivative",
        description="Writes sub-LABEL/pet/sub-LABEL_trc-{PSMA,FDG}_desc-lesion_mask.nii.gz with sidecars, "
        "dataset_description.json and participants.tsv into the new folder BIDS. BIDS has no rule for masks of PET "
        "yet: .bidsignore names them.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="OUT of 'deeppsma cohort'")
    command.add_argument("folder", type=Path, metavar="BIDS", help="a new folder")
    command.set_defaults(run=_cohort_bids)


def _cohort(options: argparse.Namespace) -> None:
    from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings
    from deeppsma.operation.cohort.run import run_cohort

    if options.report:
        from deeppsma.reporting.pdf import require_reportlab

        require_reportlab()
    settings = request(CohortSettings, options)
    asked = request(CohortRequest, options, settings=settings)
    with _Bar() as bar:
        end = run_cohort(asked, progress=bar.show)
    try:
        for path in _write_all(asked.out):
            print(path)
    finally:  # a full disk takes the tables, not the account
        _tell(end)


def _cohort_tables(options: argparse.Namespace) -> None:
    from deeppsma.operation.cohort.ledger import Account, Ledger

    ledger = Ledger(options.out)
    for path in _write_all(options.out):
        print(path)
    print(Account.of(ledger.outcomes(ledger.asked().cases)))


def _cohort_bids(options: argparse.Namespace) -> None:
    from deeppsma.operation.cohort.bids import export_bids

    made = export_bids(options.out, options.folder)
    print(f"{made.folder}: {made.subjects} subjects, {made.masks} masks")


def _write_all(out: Path) -> list[Path]:
    from deeppsma.operation.cohort.ledger import Ledger
    from deeppsma.operation.cohort.summary import Gathered, write_summary
    from deeppsma.operation.cohort.tables import case_lines, write_tables

    ledger, gathered = Ledger(out), Gathered()
    ledger.asked()  # before anything is written
    tables = write_tables(ledger, gathered.passing(case_lines(ledger)))
    return [*tables, write_summary(ledger, gathered)]


class _Bar:
    """A progress bar over the cases."""

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        self._bar = tqdm(desc="cases", unit="case", disable=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, account: Account) -> None:
        """Show an account."""
        self._bar.total = account.asked
        if account.refused or account.failed:
            self._bar.set_postfix(refused=account.refused, failed=account.failed, refresh=False)
        self._bar.update(account.asked - account.left - self._bar.n)


def _tell(end: CohortEnd) -> None:
    """Say how it ended; a run with cases that are not done has a status of its own.

    Raises
    ------
    CohortError
        If not every case is done.
    """
    from deeppsma.core.errors import CohortError

    for name, line in list(end.not_done.items())[:_MOST_LINES]:
        print(f"{name}: {line}", file=sys.stderr)
    if len(end.not_done) > _MOST_LINES:
        print(f"... and {len(end.not_done) - _MOST_LINES} more, in failures.csv", file=sys.stderr)
    print(end.account, flush=True)
    if end.stopped is not None:
        raise CohortError(f"{end.account.left} cases are left", end.stopped.line, "mend that, and start it again")
    if end.account.done < end.account.asked:
        missing = end.account.asked - end.account.done
        raise CohortError(f"{missing} cases are not done", str(end.account), "see failures.csv")

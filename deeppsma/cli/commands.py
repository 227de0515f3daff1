"""The command line: ``deeppsma COMMAND --help`` tells what each command does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deeppsma._version import __version__
from deeppsma.cli.cohort import add_cohort
from deeppsma.cli.dicom import add_dicom, add_dicom_case, add_dicom_out, dicom_options
from deeppsma.cli.doctor import add_doctor
from deeppsma.cli.exit_status import guarded
from deeppsma.cli.node import add_node
from deeppsma.cli.options import add_device, add_jobs, add_weights, duration, request
from deeppsma.cli.reporting import add_reporting, write_report_of
from deeppsma.cli.research import add_research
from deeppsma.cli.serve import add_serve
from deeppsma.core.defaults import DEFAULT_RECIPE, PROBABILITY_SUFFIXES
from deeppsma.core.errors import ConfigurationError

_EPILOG = """\
examples:
  deeppsma phantom demo                                  make a synthetic patient
  deeppsma segment demo/case_0000/input result           find his disease
  deeppsma report result demo/case_0000/input            a page to look at it (result/report.html)
  deeppsma score result demo/case_0000/truth             hold it against the truth
  deeppsma train cohort run                              train on cases in the data set's layout

The shipped weights have seen synthetic patients only. Not for clinical use.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown and "refuse" in options:
        return guarded(lambda: options.refuse(unknown))
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return guarded(lambda: options.run(options))


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; `parse_args` gives options whose ``run`` does the work."""
    parser = argparse.ArgumentParser(
        prog="deeppsma",
        description="Finds prostate cancer on a patient's PSMA PET/CT and FDG PET/CT and writes both masks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deeppsma {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_segment(commands)
    add_cohort(commands)
    _add_phantom(commands)
    add_dicom(commands)
    _add_recipes(commands)
    _add_weights(commands)
    add_reporting(commands)
    add_research(commands)
    add_serve(commands)
    add_node(commands)
    add_doctor(commands)
    return parser


def _add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "segment",
        help="segment a case",
        description="Writes OUT/images/{psma,fdg}-pet-ttb/*.mha (0/1 on the PET's grid) and OUT/run_report.json.",
    )
    command.add_argument(
        "case",
        type=Path,
        metavar="CASE",
        help="platform input folder, train_XXXX of the data set, or DICOM files of a patient",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="result folder; an earlier result there is replaced")
    command.add_argument("--recipe", default=DEFAULT_RECIPE, help=f"see 'deeppsma recipes' (default {DEFAULT_RECIPE})")
    add_device(command)
    add_weights(command)
    command.add_argument(
        "--mirror",
        dest="mirrored",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run models of nnU-Net on mirrored images, too (up to 8 times the work), or not, whatever the recipe and "
        "they themselves say; noted in the run report",
    )
    command.add_argument("--picture", action="store_true", help="also write overview.png: projections with the masks")
    command.add_argument(
        "--probabilities",
        nargs="?",
        const=".nii.gz",
        default="",
        choices=PROBABILITY_SUFFIXES,
        help="also write OUT/{psma,fdg}-probability.nii.gz (or .mha): the networks' probability of disease, voxel by "
        "voxel, 0 below the threshold; not calibrated on real scans",
    )
    command.add_argument(
        "--foci",
        nargs="?",
        const="foci.csv",
        default="",
        metavar="FILE.csv",
        help="also write OUT/FILE.csv (default foci.csv), and into the run report: each focus that the recipe "
        "judges (gtrc, second_opinion), with its measurements and the verdict",
    )
    add_dicom_case(command)
    add_dicom_out(command)
    command.add_argument("--no-pdf", action="store_true", help="no PDF beside the page of --report")
    command.add_argument(
        "--deadline",
        type=duration,
        metavar="TIME",
        help="90s, 25m, 1h: when time is up, or the computing process crashes or runs out of memory, the best complete "
        "answer until then is the result, and says so (threshold outside organs; first members; all). The report of "
        "--report comes after that",
    )
    command.add_argument(
        "--report", action="store_true", help="also write what 'deeppsma report' does: page, PDF, tables"
    )
    command.set_defaults(run=_segment)


def _segment(options: argparse.Namespace) -> None:
    from deeppsma.cli.in_time import run_in_time
    from deeppsma.operation.job import Job
    from deeppsma.pipeline.run_report import stored_report

    if options.no_pdf and not options.report:
        raise ConfigurationError("--no-pdf", "there is no report to leave it out of", "give --report, too")
    if options.report and not options.no_pdf:
        from deeppsma.reporting.pdf import require_reportlab

        require_reportlab()
    job = request(Job, options, dicom=dicom_options(options))
    show_progress = sys.stderr.isatty()
    if options.deadline is not None:
        written = run_in_time(job, options.deadline, show_progress)
        report = stored_report(options.out)
    else:
        from deeppsma.operation.job import run_job

        made, report = run_job(job, show_progress)
        written = tuple(made)
    _remember(options)
    for path in written:
        print(path)
    for tracer, found in report.findings.items():
        print(f"{tracer.upper()}: {found.volume_ml:.1f} ml in {found.components} components")
    print(report.short_notice)
    if options.report:
        for path in write_report_of(options.out, options.case, with_pdf=not options.no_pdf, dicom=job.dicom):
            print(path)


def _remember(options: argparse.Namespace) -> None:
    """Note where the case lies, for a report that is made later; not of DICOM, whose place may hold a name."""
    from deeppsma.io.result_folder import remember_case
    from deeppsma.preprocessing.dicom_case import lies_as_dicom

    if not lies_as_dicom(options.case):
        remember_case(options.out, options.case)


def _add_phantom(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "phantom",
        help="make synthetic patients",
        description="Makes synthetic patients: PET, CT, organ maps, truth. Patient i is drawn from SEED + i; "
        "the same seed gives the same patient. An interrupted run goes on where it stopped.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="one folder per patient is made there")
    command.add_argument("--cases", type=int, default=1, help="how many (default 1)")
    command.add_argument("--seed", type=int, default=0, help="of the first patient (default 0)")
    layouts = ("platform", "train", "dicom")
    command.add_argument(
        "--layout",
        choices=layouts,
        default="platform",
        help="as the platform's or the data set's folders, or as DICOM studies",
    )
    add_jobs(command)
    command.add_argument(
        "--ct",
        choices=("full", "pet", "none"),
        default="full",
        help="full: on a CT's grid (default); pet: on the PET's grid, quicker, enough for training; none",
    )
    command.add_argument(
        "--enrich",
        default="",
        metavar="NAMES",
        help="findings that every patient has one of, separated by commas: pneumonia, active-marrow, paget, colitis, "
        "degeneration, nodes, fractures, muscle (resources/phantom/enrichments.toml)",
    )
    command.add_argument(
        "--phantom-version", type=int, default=3, metavar="N", help="2: patients as version 2 made them (default 3)"
    )
    command.add_argument("--no-ct", dest="ct", action="store_const", const="none", help="the same as --ct none")
    command.set_defaults(run=_phantom)


def _phantom(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from deeppsma.phantom.session import PhantomOptions
    from deeppsma.phantom.write_cohort import CohortPlan, write_cohort

    try:
        enrich = tuple(name.strip() for name in options.enrich.split(",") if name.strip())
        make = PhantomOptions(ct=options.ct, version=options.phantom_version, enrich=enrich)
        plan = CohortPlan(options.out, options.cases, options.seed, options.layout, make)
        folders = list(tqdm(write_cohort(plan, options.jobs), total=plan.cases, desc="patients", disable=None))
    except ValueError as error:
        raise ConfigurationError("phantom", str(error), "see deeppsma phantom --help") from None
    for folder in sorted(folders):
        print(folder)


def _add_recipes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("recipes", help="list recipes and weights", description="Lists recipes and weights.")
    add_weights(command)
    command.set_defaults(run=_recipes)


def _recipes(options: argparse.Namespace) -> None:
    from deeppsma.core.errors import DeepPsmaError
    from deeppsma.models.store import WeightsStore
    from deeppsma.pipeline.recipe import all_recipes

    store = WeightsStore.default(options.weights)
    for recipe in all_recipes():
        default = " (default)" if recipe.name == DEFAULT_RECIPE else ""
        print(f"{recipe.name}{default}\n  {recipe.summary}\n  members {', '.join(recipe.members)}; {recipe.source}")
    print("\nweights")
    for name in store.names():
        try:
            member = store.member(name)
        except DeepPsmaError as error:  # the others are still worth a line
            print(f"  {name}: cannot be used: {error}")
        else:
            print(f"  {name}: {member.network.summary}; trained on {member.trained_on}; {member.folder}")


def _add_weights(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("weights", help="import weights of other programs, or average some")
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    action = actions.add_parser(
        "import",
        help="make a member of an nnU-Net model folder, or of a checkpoint",
        description="SOURCE is a model folder of nnUNet_results (plans.json, dataset.json, fold_*/checkpoint_*.pth) or "
        "a Lightning checkpoint of the CDS network. OUT becomes a member: segment with --weights and the folder that "
        "OUT lies in. Without --tracer, SOURCE may be a whole repository: a clone of GTRC-Net, LesionTracer's folder, "
        "or nnUNet_results; then OUT becomes a folder of members. Nothing of SOURCE is executed.",
    )
    action.add_argument("source", type=Path, metavar="SOURCE", help="model folder, or checkpoint")
    action.add_argument("out", type=Path, metavar="OUT", help="the member's folder; its name is what recipes call it")
    action.add_argument("--tracer", choices=("psma", "fdg"), default="", help="whose scans an nnU-Net model sees")
    action.add_argument(
        "--channels",
        nargs="+",
        default=(),
        metavar="KIND",
        help="what it is fed, in order: ratio (PET over threshold), pet (the same less 1), ct, organs, contrast "
        "(uptake against the organ's own), organ-NAME, sdf-NAME (default: what dataset.json says, if it leaves no "
        "doubt)",
    )
    action.add_argument("--folds", nargs="+", default=(), metavar="F", help="0 1 2, or all (default: every one there)")
    action.add_argument("--checkpoint", default="checkpoint_final.pth", metavar="FILE", help="of each fold")
    mirror = "average over mirrored images, as nnU-Net does; slower"
    action.add_argument("--mirror", dest="mirrored", action="store_true", help=mirror)
    action.add_argument("--describe", default="", metavar="TEXT", help="what it was trained on, for the run report")
    action.set_defaults(run=_import_weights)
    action = actions.add_parser(
        "average",
        help="make a member of the mean of several members' weights",
        description="Of trainings that went on from one another, or from the same weights. The last one's network is "
        "kept; the others may have been fed fewer channels.",
    )
    action.add_argument("members", nargs="+", metavar="MEMBER", help="a shipped one's name, or a folder; two or more")
    action.add_argument("out", type=Path, metavar="OUT", help="the new member's folder")
    action.set_defaults(run=_average_weights)


def _import_weights(options: argparse.Namespace) -> None:
    from deeppsma.models.config import load_network
    from deeppsma.models.nnunet.importer import ImportRequest, import_weights

    if _is_repository(options):
        _import_repository(options)
        return
    print(import_weights(request(ImportRequest, options), load_network("cds")).folder)


def _is_repository(options: argparse.Namespace) -> bool:
    """Whether a source is more than one model; what is said of one model counts for one."""
    from deeppsma.models.repositories import Repository

    if options.tracer or options.channels or not options.source.is_dir():
        return False
    return list(Repository.of(options.source).models) != [options.source.resolve().name]


def _import_repository(options: argparse.Namespace) -> None:
    from deeppsma.models.import_repository import import_repository

    made = import_repository(options.source, options.out, options.mirrored, tuple(options.folds))
    for path in made.members:
        print(path)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)


def _average_weights(options: argparse.Namespace) -> None:
    from deeppsma.training.average import average_members
    from deeppsma.training.command import starting_member

    members = [starting_member(name) for name in options.members]
    print(average_members([member for member in members if member is not None], options.out).folder)

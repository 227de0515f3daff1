"""The command line's part for research: cohorts, scores, training."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeppsma.cli.options import add_device, add_jobs, add_weights, request
from deeppsma.core.defaults import CDS_RECIPES, SUBMITTED_RECIPE


def add_research(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this module to the command line."""
    _add_survey(commands)
    _add_score(commands)
    _add_train(commands)
    _add_crossval(commands)
    _add_experiments(commands)
    _add_refinement(commands)
    _add_second_opinion(commands)


def _add_survey(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "survey",
        help="hold a cohort against published figures",
        description="Measures a cohort that has truth masks (synthetic, or the real data set) and prints a table: "
        "figure, real, ours, ratio. Figures of organs and lesions need the cards that 'deeppsma phantom' writes.",
    )
    command.add_argument("cohort", type=Path, metavar="COHORT", help="folder of cases, in either layout")
    add_jobs(command)
    command.add_argument("--picture", type=Path, metavar="PNG", help="also draw a page of the first ten patients")
    command.set_defaults(run=_survey)


def _survey(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from deeppsma.core.errors import ConfigurationError
    from deeppsma.evaluation.gallery import gallery
    from deeppsma.evaluation.published_figures import compare, markdown, trivial_line
    from deeppsma.evaluation.survey import survey
    from deeppsma.io.cohort import cohort_folders

    if options.jobs < 1:
        raise ConfigurationError("--jobs", f"{options.jobs} processes", "give 1 or more")
    folders = cohort_folders(options.cohort)
    cases = list(tqdm(survey(options.cohort, options.jobs), total=len(folders), desc="cases", disable=None))
    print(markdown(compare(cases)))
    print(f"\n{trivial_line(cases)}")
    if options.picture is not None:
        options.picture.write_bytes(gallery(folders[:10]))


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "score",
        help="hold results against the truth",
        description="Prints the challenge's six figures per tracer, and lesions found. One case: RESULT is OUT of "
        "'deeppsma segment', TRUTH its case with truth (or that case's folder 'truth'). A cohort: TRUTH is a folder "
        "of cases, each RESULT a folder of results with the cases' names; several of them are ranked as the challenge "
        "ranks. DSC: Dice similarity of the masks; surface DSC: of their contour voxels; FPV, FNV: false positive and "
        "false negative volume, of components that touch none of the other mask.",
    )
    command.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="one, or several methods' of a cohort")
    command.add_argument("truth", type=Path, metavar="TRUTH", help="case with truth, or cohort")
    command.add_argument("--csv", type=Path, metavar="FILE", help="also write every case's scores there")
    command.add_argument(
        "--picture",
        type=Path,
        metavar="PNG",
        help="also draw one case's projections: true positive green, false negative cyan, false positive magenta",
    )
    command.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> None:
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.evaluation.scoring import (
        agreement_picture,
        case_lines,
        csv_table,
        rank,
        rank_table,
        score_results,
        summary_table,
    )
    from deeppsma.io.cohort import cohort_folders, load_labelled, truth_case

    single = truth_case(options.truth)
    if options.picture is not None and (single is None or len(options.results) > 1):
        raise ConfigurationError("--picture", "a cohort, or several results", "give one result and its case")
    folders = [single] if single is not None else cohort_folders(options.truth)
    methods = score_results(options.results, folders, one_case=single is not None)
    print(case_lines(methods) if len(folders) == 1 else summary_table(methods))
    if len(methods) > 1:
        print(f"\n{rank_table(rank(methods))}")
    if options.picture is not None:
        options.picture.write_bytes(agreement_picture(options.results[0], load_labelled(folders[0])))
    if options.csv is not None:
        options.csv.write_text(csv_table(methods, [folder.name for folder in folders]), encoding="utf-8")


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "train",
        help="train a network",
        description="Trains on cases in the data set's layout and freezes the weights as a member in OUT/NAME. "
        "Samples are cached in OUT/samples; curve.csv, curves.png and, with --fold, validation.csv show its course. "
        "Several GPUs: torchrun --nproc-per-node N -m deeppsma train ...",
    )
    command.add_argument("data", type=Path, metavar="DATA", help="folder of train_XXXX cases")
    command.add_argument("out", type=Path, metavar="OUT", help="samples, checkpoint, curve and the frozen member")
    command.add_argument("--name", default="cds-compact", help="of the member (default cds-compact)")
    command.add_argument("--resume", action="store_true", help="go on from OUT's checkpoint")
    command.add_argument("--describe", default="", metavar="TEXT", help="what the data are, for the model card")
    _add_training_options(command)
    command.add_argument("--tracer", choices=("psma", "fdg"), default="", help="of a network that serves one tracer")
    command.add_argument("--fold", type=int, metavar="K", help="leave out the cases that this fold holds out")
    command.add_argument(
        "--folds", type=Path, metavar="FILE", help="which cases; 'deeppsma crossval' writes such a file"
    )
    command.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    from deeppsma.training.command import TrainRequest, run_training

    print(run_training(request(TrainRequest, options)).folder)


def _add_training_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--settings", default="compact", help="file in resources/training (default compact)")
    command.add_argument(
        "--truth", default="TTB", metavar="NAME", help="masks to learn: NAME.nii.gz beside the PET (default TTB)"
    )
    command.add_argument("--steps", type=int, help="instead of the settings' own number")
    command.add_argument("--seed", type=int, default=0, help="of weights and patches (default 0)")
    add_device(command)
    command.add_argument(
        "--from",
        dest="start",
        default="",
        metavar="MEMBER",
        help="go on from shipped weights, or a folder's; scores count only on cases that these have not seen",
    )


def _add_crossval(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "crossval",
        help="train and score all folds",
        description="Draws the folds once (OUT/folds.json), trains those that are missing, scores each on the cases "
        "that it has not seen, and writes OUT/crossval.md and OUT/crossval.csv. An interrupted run goes on where it "
        "stopped.",
    )
    command.add_argument("data", type=Path, metavar="DATA", help="folder of train_XXXX cases")
    command.add_argument("out", type=Path, metavar="OUT", help="folds, their runs and members, tables")
    command.add_argument("--folds", type=int, default=5, help="how many (default 5)")
    command.add_argument("--recipe", default=SUBMITTED_RECIPE, help=f"to score with (default {SUBMITTED_RECIPE})")
    _add_training_options(command)
    command.set_defaults(run=_crossval)


def _crossval(options: argparse.Namespace) -> None:
    from deeppsma.evaluation.cross_validation import CrossvalRequest, run_crossval
    from deeppsma.training.command import TrainRequest

    train = request(TrainRequest, options, folds=None)  # here, folds are how many
    print(run_crossval(request(CrossvalRequest, options, train=train)))


def _add_experiments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "experiments",
        help="hold recipes side by side on a cohort",
        description="Scores recipes on a cohort with truth and writes OUT/experiments.md: the CDS report's tables, "
        "each row beside the report's own; all figures with intervals; ranks; lesions found against false ones at "
        "every cutoff (also OUT/froc.png). OUT/experiments.csv has every case. Each case is read, and run through each "
        "network, once; an interrupted run goes on where it stopped.",
    )
    command.add_argument(
        "cohort", type=Path, metavar="COHORT", help="folder of cases with truth that nobody trained on"
    )
    command.add_argument("out", type=Path, metavar="OUT", help="tables, picture, and what is scored so far")
    command.add_argument(
        "--recipes", nargs="+", default=CDS_RECIPES, metavar="R", help="default: all of the CDS report"
    )
    add_weights(command)
    command.add_argument(
        "--crossval", type=Path, metavar="CV", help="OUT of 'deeppsma crossval': makes table 1, and is the ensemble"
    )
    command.add_argument(
        "--froc",
        default="",
        metavar="R",
        help=f"whose cutoff is moved for the FROC (default {SUBMITTED_RECIPE}, else the first of the recipes)",
    )
    add_device(command)
    command.set_defaults(run=_experiments)


def _experiments(options: argparse.Namespace) -> None:
    from deeppsma.evaluation.experiments import ExperimentsRequest, run_experiments

    print(run_experiments(request(ExperimentsRequest, options)))


def _add_refinement(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "train-refinement",
        help="fit which FDG lesions stay",
        description="Segments a cohort with truth and fits the logistic model that decides which FDG lesions stay "
        "(PaIRe report, section 4.3). Prints sensitivity and specificity, cross-validated over patients, of every "
        "meaning of 'PSMA finds disease at the same place', and writes the model that is asked for as JSON; a recipe "
        "names it as its refinement.",
    )
    command.add_argument("cohort", type=Path, metavar="COHORT", help="folder of cases with truth")
    command.add_argument("out", type=Path, metavar="OUT.json", help="the model")
    command.add_argument("--recipe", default=SUBMITTED_RECIPE, help=f"whose lesions (default {SUBMITTED_RECIPE})")
    command.add_argument("--match", choices=("organ", "space"), default="organ", help="same organ label, or near in mm")
    command.add_argument("--radius-mm", type=float, default=0.0, metavar="MM", help="of --match space")
    command.add_argument(
        "--keep-above-ml", type=float, default=7.0, metavar="ML", help="larger lesions stay anyway (default 7)"
    )
    add_weights(command)
    add_device(command)
    command.add_argument("--describe", default="", metavar="TEXT", help="what the cohort is, for the model's file")
    command.add_argument("--picture", type=Path, metavar="PNG", help="also draw the calibration")
    command.set_defaults(run=_train_refinement)


def _train_refinement(options: argparse.Namespace) -> None:
    from deeppsma.training.fit_lesion_classifier import RefinementRequest, run_refinement

    print(run_refinement(request(RefinementRequest, options)))


def _add_second_opinion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "train-second-opinion",
        help="fit the second opinion on every focus",
        description="Runs a cohort with truth through a recipe's networks, divides the hot voxels into foci, and fits "
        "boosted trees that tell which foci are disease. Give patients that the networks were not trained on. Writes "
        "the models, a card, tables cross-validated over patients, and a reliability diagram into OUT; a recipe names "
        "that folder as its second_opinion. An interrupted run goes on where it stopped.",
    )
    command.add_argument("cohort", type=Path, metavar="COHORT", help="folder of cases with truth")
    command.add_argument("out", type=Path, metavar="OUT", help="models, card, tables, and foci that are done")
    command.add_argument(
        "--recipe", default="mean", help="what is judged: any recipe that asks for no second opinion (default mean)"
    )
    command.add_argument(
        "--keep-lesions",
        type=float,
        default=0.98,
        metavar="SHARE",
        help="of the lesions that either space finds, at least this share must stay (default 0.98)",
    )
    command.add_argument("--folds", type=int, default=5, help="of the cross-validation (default 5)")
    command.add_argument("--ablations", action="store_true", help="also leave out each group of features in turn")
    command.add_argument(
        "--without-maps",
        action="store_true",
        help="show patients as if nobody had made organ maps, to the networks too: for the folder without-organ-maps "
        "inside that of the models, which stands in for them where a case lacks a map",
    )
    tracers = ("psma", "fdg")
    command.add_argument(
        "--decides", nargs="*", choices=tracers, default=tracers, help="tracers whose masks it changes (default both)"
    )
    command.add_argument(
        "--removes",
        nargs="*",
        choices=tracers,
        default=(),
        help="tracers whose masks it may take foci from, and add none (default none), at half the loss; name the other "
        "one with --decides. Of a tracer that is named with neither it gives probabilities alone",
    )
    add_weights(command)
    add_device(command)
    command.add_argument("--describe", default="", metavar="TEXT", help="what the cohort is, for the card")
    command.set_defaults(run=_train_second_opinion)


def _train_second_opinion(options: argparse.Namespace) -> None:
    from deeppsma.training.train_second_opinion import SecondOpinionRequest, run_second_opinion

    print(run_second_opinion(request(SecondOpinionRequest, options)))

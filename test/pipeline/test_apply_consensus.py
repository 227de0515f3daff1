"""GTRC-Net and LesionTracer on a case, beside the published steps done one by one."""

import csv
import json
import shutil
from unittest.mock import patch

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders.cases import THRESHOLDS
from builders.published_foci import divide_published

from benchmarks.gtrc_stand_in import TRAINER, plans_like_gtrc, write_clone, write_keras_file, write_model_folder
from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.gtrc.keras_file import read_keras_file
from deeppsma.models.import_repository import import_repository
from deeppsma.models.store import WeightsStore
from deeppsma.operation.job import Job
from deeppsma.pipeline.apply_consensus import apply_consensus
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import ConsensusStep, Recipe, load_recipe
from deeppsma.pipeline.segment import segment

LESIONTRACER = "autoPET3_Trainer__nnUNetResEncUNetLPlansMultiTalent__3d_fullres"
FOLDS = 3


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = write_clone(tmp_path_factory.mktemp("clone") / "GTRC", features=2, folds=FOLDS, patch=(64, 32, 32))
    for number, path in enumerate(sorted(folder.glob("data/*/subregion_metrics/fold_*/consensus_model.keras"))):
        write_undecided(path, number)
    return folder


def write_undecided(path, number):
    """A random network that takes about half of such foci for disease as the case has."""
    rng = np.random.default_rng(number)
    volume, mean = rng.uniform(0.1, 8, 200), rng.uniform(1, 2, 200)
    ttb = rng.random(200)
    ct = rng.uniform(20, 60, 200)
    foci = np.stack([volume, mean * rng.uniform(1, 2, 200), mean, ct, ttb, (1 - ttb) * rng.random(200)], axis=1)
    for seed in range(1000 * number, 1000 * number + 1000):
        write_keras_file(path, np.random.default_rng(seed))
        if 0.35 < (read_keras_file(path).probability(foci) > 0.5).mean() < 0.65:
            return
    raise AssertionError("no such network")


def classes_of(case, store, tracer):
    """The networks' class at above-threshold voxels, 0 elsewhere, on the PET's grid; mirrored, all folds."""
    run = CaseRun(case, [Method.choose(load_recipe("gtrc"), store)], "cpu")
    space = run.prepared.spaces[tracer]
    dense = np.zeros(space.geometry.shape_zyx, np.uint8)
    dense[space.hot] = run.logits[f"gtrc-{tracer}"].of(tracer, tracer).argmax(axis=0)
    return run.prepared.on_pet(tracer, dense).voxels


def inputs(folder, tracer):
    """PET over threshold, and the CT on its grid, by SimpleITK alone."""
    pet, ct = (next(folder.glob(f"images/{tracer}-{what}/*.mha")) for what in ("pet*", "ct"))
    pet, ct = sitk.ReadImage(str(pet)), sitk.ReadImage(str(ct))
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(pet)
    resampler.SetDefaultPixelValue(-1000)
    return pet, pet / THRESHOLDS[tracer], sitk.GetArrayFromImage(resampler.Execute(ct))


def published_mask(folder, clone, tracer, classes):
    """Subregions, six numbers each, votes: the published steps, a mask of the whole volume for each subregion."""
    pet, scaled, ct = inputs(folder, tracer)
    ratio = sitk.GetArrayFromImage(scaled)
    labels = divide_published(ratio, pet.GetSpacing()[::-1])
    networks = [
        read_keras_file(clone / f"data/{tracer.upper()}/subregion_metrics/fold_{fold}/consensus_model.keras")
        for fold in range(FOLDS)
    ]
    ml = np.prod(pet.GetSpacing()) / 1000
    out, verdicts = np.zeros(ratio.shape, bool), []
    for number in range(1, labels.max() + 1):
        mine = labels == number
        if mine.any():
            six = [mine.sum() * ml, ratio[mine].max(), ratio[mine].mean(), ct[mine].mean()]
            six += [(classes[mine] == 1).mean(), (classes[mine] == 2).mean()]
            votes = sum(network.probability(np.array([six]))[0] > 0.5 for network in networks)
            verdicts.append(votes > FOLDS / 2)
            out |= mine & verdicts[-1]
    return out | ((classes == 1) & (ratio >= 1)), verdicts


@pytest.mark.parametrize("tracer", list(Tracer))
def test_the_whole_recipe_is_the_published_steps(clone, platform_case, tracer):
    case, store = load_case(platform_case), WeightsStore.default(clone)
    found = segment(case, "gtrc", store, "cpu")
    wanted, verdicts = published_mask(platform_case, clone, tracer, classes_of(case, store, tracer))
    assert np.array_equal(found.masks[tracer].voxels > 0, wanted)
    assert [bool(row["disease"]) for row in found.foci[tracer]] == verdicts
    assert len(verdicts) >= 3
    assert found.report.fallbacks == ()


def test_some_foci_are_disease_and_some_are_not(clone, platform_case):
    found = segment(load_case(platform_case), "gtrc", WeightsStore.default(clone), "cpu")
    verdicts = {row["disease"] for rows in found.foci.values() for row in rows}
    assert verdicts == {0, 1}


@pytest.mark.parametrize("tracer", list(Tracer))
def test_the_quick_variant_is_the_published_steps_above_the_threshold(clone, platform_case, tracer):
    case, store = load_case(platform_case), WeightsStore.default(clone)
    found = segment(case, "gtrc_quick", store, "cpu").masks[tracer].voxels > 0
    classes = classes_of(case, store, tracer)
    pet, scaled, _ = inputs(platform_case, tracer)
    hot = sitk.GetArrayFromImage(scaled) >= 1
    ttb = sitk.GetImageFromArray((classes == 1).astype(np.uint8))
    ttb.CopyInformation(pet)
    distance = sitk.SignedMaurerDistanceMap(ttb, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    grown = (sitk.GetArrayFromImage(distance) <= 7) & hot & (classes != 2)
    assert np.array_equal(found, grown | ((classes == 1) & hot))
    assert found.any()


def test_from_the_command_line(clone, platform_case, tmp_path, capsys):
    assert main(["weights", "import", str(clone), str(tmp_path / "own")]) == 0
    said = capsys.readouterr()
    assert said.out.split() == [
        str(tmp_path / "own" / name) for name in ("gtrc-consensus-fdg", "gtrc-consensus-psma", "gtrc-fdg", "gtrc-psma")
    ]
    assert "is for SPECT: left out" in said.err
    results = []
    for weights in (clone, tmp_path / "own"):
        out = tmp_path / f"out-{weights.name}"
        arguments = ["segment", str(platform_case), str(out), "--weights", str(weights), "--recipe", "gtrc"]
        assert main([*arguments, "--device", "cpu", "--foci", "foci.csv"]) == 0
        with (out / "foci.csv").open() as file:
            rows = list(csv.DictReader(file))
        results.append(rows)
        report = json.loads((out / "run_report.json").read_text())
        assert len(rows) == sum(len(each) for each in report["foci"].values())
        assert list(rows[0]) == [
            *("tracer", "focus", "x_mm", "y_mm", "z_mm"),
            *("volume_ml", "ratio_max", "ratio_mean", "ct_mean_hu", "ttb_share", "normal_share"),
            *("vote_0", "vote_1", "vote_2", "disease"),
        ]
    assert results[0] == results[1]


def test_foci_that_cannot_be_written(clone, platform_case, tmp_path, capsys):
    arguments = ["segment", str(platform_case), str(tmp_path / "out"), "--weights", str(clone)]
    assert main([*arguments, "--recipe", "gtrc_quick", "--foci"]) == ConfigurationError.exit_code
    assert "recipe gtrc_quick looks at no foci; leave it out, or choose gtrc" in capsys.readouterr().err
    assert main([*arguments, "--recipe", "gtrc", "--foci", "../foci.csv"]) == ConfigurationError.exit_code
    assert "give a name that ends in .csv" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"a name that ends in \.csv"):
        Job(platform_case, tmp_path, foci="foci.txt")


def test_without_consensus_networks_gtrc_is_refused_and_gtrc_quick_runs(clone, platform_case, tmp_path):
    bare = shutil.copytree(clone, tmp_path / "bare")
    for name in ("PSMA", "FDG"):
        shutil.rmtree(bare / "data" / name)
    with pytest.raises(WeightsError, match=r"no consensus networks for PSMA there; .*gtrc_quick"):
        segment(load_case(platform_case), "gtrc", bare, "cpu")
    assert segment(load_case(platform_case), "gtrc_quick", bare, "cpu").masks[Tracer.PSMA].voxels.any()


def test_networks_of_fewer_folds_than_voters_are_said(clone, platform_case, tmp_path):
    import_repository(clone, tmp_path / "own", folds=("0", "2"))
    report = segment(load_case(platform_case), "gtrc", tmp_path / "own", "cpu", mirrored=False).report
    folds = "has folds 0 2, its consensus networks 0 1 2: not as published"
    assert {f"gtrc-psma {folds}", f"gtrc-fdg {folds}"} < set(report.fallbacks)


def test_weights_that_are_no_numbers_end_in_one_line(clone, platform_case, tmp_path, capsys):
    bare = shutil.copytree(clone, tmp_path / "bare")
    for path in bare.glob("data/nnUNet_data/results/Dataset881*/*/fold_1/checkpoint_final.pth"):
        content = torch.load(path, weights_only=True)
        next(iter(content["network_weights"].values())).view(-1)[0] = float("nan")
        torch.save(content, path)
    arguments = ["segment", str(platform_case), str(tmp_path / "out"), "--weights", str(bare), "--recipe", "gtrc"]
    assert main([*arguments, "--device", "cpu", "--no-mirror"]) == WeightsError.exit_code
    assert "finite weights in encoder.stages" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*.mha"))


def test_a_vote_without_voters_is_refused(platform_case, clone):
    run = CaseRun(load_case(platform_case), [Method.choose(load_recipe("gtrc_quick"), WeightsStore.default(clone))])
    none = np.zeros(int(run.prepared.spaces[Tracer.FDG].hot.sum()), np.float32)
    with pytest.raises(ValueError, match="no consensus for fdg"):
        apply_consensus(ConsensusStep(), None, run.prepared, Tracer.FDG, none, none)


def test_lesiontracer_sees_both_tracers(platform_case, tmp_path):
    plans = plans_like_gtrc("Dataset200_autoPET3_lesions", 2, (64, 32, 32))
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization", "CTNormalization"]
    plans["foreground_intensity_properties_per_channel"]["1"] = {
        "mean": 7.0, "std": 8.0, "percentile_00_5": 1.0, "percentile_99_5": 51.0
    }  # fmt: skip
    write_model_folder(tmp_path / LESIONTRACER, plans, ("CT", "PET"), ("background", "lesion"), 2)
    case, store = load_case(platform_case), WeightsStore.default(tmp_path / LESIONTRACER)
    found = segment(case, "lesiontracer", store, "cpu")
    run = CaseRun(case, [Method.choose(load_recipe("lesiontracer"), store)], "cpu")
    for tracer in Tracer:
        hot = run.prepared.spaces[tracer].hot
        logits = run.logits[f"lesiontracer-{tracer}"].of(tracer, tracer)
        wanted = np.zeros(hot.shape, bool)
        wanted[hot] = logits[1] > logits[0]
        assert np.array_equal(found.masks[tracer].voxels > 0, run.prepared.on_pet(tracer, wanted).voxels > 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"average": "logits"}, "consensus goes with average = probabilities"),
        ({"cutoffs": {"fdg": 0.3}}, "in place of cutoffs"),
        ({"consensus": {"method": "guess"}}, "method must be vote or grow"),
        ({"consensus": {"radius_mm": 0}}, "radius_mm must be above 0"),
    ],
)
def test_recipes_that_are_refused(changed, message):
    def make(consensus=None, **more):
        return Recipe(
            **{"name": "x", "members": ("*",), "fusion": "single", "average": "probabilities"} | more,
            consensus=ConsensusStep(**(consensus or {})),
        )

    with pytest.raises(ValueError, match=message):
        make(**changed)


def test_a_recipe_decides_on_mirroring(clone):
    store = WeightsStore.default(clone)
    assert all(member.network.mirrored for member in Method.choose(load_recipe("gtrc"), store).members)
    assert not any(member.network.mirrored for member in store.choose(("gtrc-psma", "gtrc-fdg"), "probabilities"))
    assert (clone / f"data/nnUNet_data/results/Dataset881_PSMA_PET/{TRAINER}").is_dir()


@pytest.mark.parametrize(
    ("recipe", "option", "mirrored", "said"),
    [
        ("gtrc", "--no-mirror", False, "gtrc-psma, gtrc-fdg run without mirrored images; recipe gtrc"),
        ("gtrc", "--mirror", True, ""),
        ("plain.toml", "--mirror", True, "gtrc-psma, gtrc-fdg run on mirrored images, too; recipe plain.toml"),
        ("plain.toml", "--no-mirror", False, ""),
    ],
)
def test_whoever_runs_it_decides_on_mirroring(clone, platform_case, tmp_path, recipe, option, mirrored, said):
    (tmp_path / "plain.toml").write_text(
        'members = ["gtrc-psma", "gtrc-fdg"]\nfusion = "single"\naverage = "probabilities"\n'
    )
    recipe = str(tmp_path / recipe) if recipe.endswith(".toml") else recipe
    arguments = ["segment", str(platform_case), str(tmp_path / "out"), "--weights", str(clone), "--recipe", recipe]
    with patch("deeppsma.models.nnunet.network.PlannedNetwork._mean", autospec=True) as mean:
        mean.side_effect = lambda network, fold, x: fold(x) + 0 * len(network._mirrors)
        assert main([*arguments, "--device", "cpu", option]) == 0
    assert {len(call.args[0]._mirrors) for call in mean.call_args_list} == {7 if mirrored else 0}
    report = json.loads((tmp_path / "out/run_report.json").read_text())
    assert report["recipe"]["mirrored"] is mirrored
    assert [line for line in report["fallbacks"] if "mirrored" in line] == ([] if not said else report["fallbacks"])
    assert all(said in line for line in report["fallbacks"])


def test_mirroring_that_training_did_not_know_is_said(clone, tmp_path):
    bare = shutil.copytree(clone, tmp_path / "bare")
    for path in bare.glob("data/nnUNet_data/results/Dataset881*/*/fold_*/checkpoint_final.pth"):
        torch.save(torch.load(path, weights_only=True) | {"inference_allowed_mirroring_axes": None}, path)
    method = Method.choose(load_recipe("gtrc"), WeightsStore.default(bare), mirrored=True)
    assert method.notes == ("not mirrored, because they were trained without: gtrc-psma",)


def test_a_clone_without_a_recipe_is_told_which(clone, platform_case):
    with pytest.raises(WeightsError, match="choose the recipe 'gtrc'"):
        segment(load_case(platform_case), weights=clone)


def test_the_method_knows_its_consensus(clone):
    identity = Method.choose(load_recipe("gtrc"), WeightsStore.default(clone)).identity
    assert set(identity["recipe"]["consensus_sha256"]) == {"psma", "fdg"}

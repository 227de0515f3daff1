import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.cases import write_train_case
from builders.networks import CLASSES, QUICK, SMALL_NETWORK
from builders.patients import small_patient

from deeppsma.cli.commands import main
from deeppsma.core.box import Box
from deeppsma.core.errors import ConfigurationError, InputError, WeightsError
from deeppsma.core.settings import names
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.device import cpu_plan
from deeppsma.io.image_files import write_image
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import write_member
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.training import command, loop
from deeppsma.training.config import TrainingConfig
from deeppsma.training.loop import TrainingRun, learning_rate, train
from deeppsma.training.loss import class_dice_ce, class_labels, dice_ce, supervised_loss
from deeppsma.training.patches import draw_patch
from deeppsma.training.samples import (
    Sample,
    at_threshold,
    cached_samples,
    case_folders,
    load_sample,
    make_samples,
    notes_on,
)
from deeppsma.training.validation import Agreement, Validation


def test_each_case_gives_two_samples(samples):
    assert len(samples) == 4
    for path in samples:
        sample = load_sample(path)
        assert sample.inputs.dtype == np.float16
        assert sample.target.shape == sample.region.shape == (2, *sample.shape_zyx)
        # Above the threshold the network's own input says so.
        for output, channel in ((0, 0), (1, 2)):
            hot = sample.region[output] == 2
            assert (sample.inputs[channel][hot] >= -1e-2).all()
        assert not (sample.target > 0)[sample.region == 0].any()


def test_the_truth_survives_on_its_own_grid(tmp_path):
    case = load_case(write_train_case(tmp_path / "train_0001"))
    sample = make_samples(case, SMALL_NETWORK)[Tracer.PSMA]
    truth = case.psma.truth.read().voxels > 0
    disease = (sample.target[1] > 0) & (sample.region[1] == 2)
    assert disease.sum() == truth.sum()


def test_samples_are_made_once(cohort, tmp_path, monkeypatch):
    folders = case_folders(cohort)
    first = list(cached_samples(folders, SMALL_NETWORK, tmp_path))
    monkeypatch.setattr("deeppsma.training.samples.make_samples", None)
    assert list(cached_samples(folders, SMALL_NETWORK, tmp_path)) == first


def test_another_cohort_gets_its_own_samples(cohort, tmp_path):
    mine = list(cached_samples(case_folders(cohort), SMALL_NETWORK, tmp_path / "cache"))
    shutil.copytree(cohort, tmp_path / "other")
    others = list(cached_samples(case_folders(tmp_path / "other"), SMALL_NETWORK, tmp_path / "cache"))
    assert not {p for paths in mine for p in paths} & {p for paths in others for p in paths}
    # A case that changed is made again.
    threshold = tmp_path / "other/train_0003/FDG/threshold.json"
    threshold.write_text('{"suv_threshold":  2.0}')
    changed = list(cached_samples(case_folders(tmp_path / "other"), SMALL_NETWORK, tmp_path / "cache"))
    assert changed[0] != others[0]
    assert changed[1] == others[1]


def test_next_to_the_threshold_a_voxel_counts_as_its_hot_neighbours_do():
    hot = np.array([[[0, 0, 1, 1, 0, 0, 1, 0]]], bool)
    disease = np.array([[[0, 0, 1, 0, 0, 0, 0, 0]]], bool)
    target, region = at_threshold(disease, hot)
    assert region.ravel().tolist() == [0, 1, 2, 2, 1, 1, 2, 1]
    assert target.ravel().tolist() == [0, 1, 1, 0, 0, 0, 0, 0]


def test_training_without_truth_is_refused(platform_case):
    with pytest.raises(InputError, match="no truth"):
        make_samples(load_case(platform_case), SMALL_NETWORK)


def test_no_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="no train_XXXX folders"):
        case_folders(tmp_path)


def random_sample(shape=(20, 18, 22)):
    rng = np.random.default_rng(1)
    region = (rng.random((2, *shape)) < 0.1).astype(np.uint8) * 2
    target = ((rng.random((2, *shape)) < 0.3) & (region == 2)).astype(np.uint8)
    inputs = rng.random((4, *shape)).astype(np.float16)
    inputs[1::2] = rng.integers(0, 118, (2, *shape)) / 117
    return Sample(inputs, target, region)


@pytest.mark.parametrize("kind", ["none", "flip", "rotate", "scale"])
def test_patches_are_varied_and_reproducible(kind):
    config = replace(QUICK, augmentations=(kind,))
    patches = [draw_patch(random_sample(), SMALL_NETWORK, config, np.random.default_rng(5)) for _ in range(2)]
    for name in ("inputs", "target", "region"):
        assert np.array_equal(getattr(patches[0], name), getattr(patches[1], name))
    patch = patches[0]
    assert patch.inputs.shape == (4, 16, 16, 16)
    labels = patch.inputs[[1, 3]] * 117
    assert np.abs(labels - np.rint(labels)).max() < 0.05  # labels are never mixed
    assert set(np.unique(patch.target)) <= {0, 1}
    assert set(np.unique(patch.region)) <= {0, 2}
    assert patch.inputs[[0, 2]].min() >= -1


def test_a_sample_smaller_than_the_patch_is_padded_with_air():
    sample = random_sample((6, 6, 6))
    patch = draw_patch(sample, SMALL_NETWORK, replace(QUICK, augmentations=("none",)), np.random.default_rng(0))
    assert patch.inputs[:, 0, 0, 0].tolist() == [-1, 0, -1, 0]
    assert patch.target.sum() == sample.target.sum()


def test_two_thirds_of_the_patches_lie_on_disease():
    sample = Sample(np.zeros((4, 64, 8, 8), np.float16), *(np.zeros((2, 64, 8, 8), np.uint8) for _ in range(2)))
    sample.region[:, 8], sample.region[:, 56] = 2, 2
    sample.target[:, 8] = 1
    config = replace(QUICK, augmentations=("none",))
    rng = np.random.default_rng(0)
    narrow = replace(SMALL_NETWORK, patch_zyx=(16, 8, 8))
    with_disease = [draw_patch(sample, narrow, config, rng).target.any() for _ in range(300)]
    assert np.mean(with_disease) == pytest.approx(2 / 3, abs=0.08)


def test_a_sample_without_hot_voxels_still_gives_a_patch():
    sample = Sample(np.zeros((4, 20, 8, 8), np.float16), *(np.zeros((2, 20, 8, 8), np.uint8) for _ in range(2)))
    assert draw_patch(sample, SMALL_NETWORK, QUICK, np.random.default_rng(0)).target.sum() == 0


def test_loss_by_hand():
    logits = torch.zeros(1, 1, 1, 1, 2)  # probability 0.5 twice
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    dice = 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert dice_ce(logits, target).item() == pytest.approx(np.log(2) + dice)
    only_first = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    dice = 1 - (2 * 0.5 + 1) / (0.5 + 1 + 1)
    assert dice_ce(logits, target, only_first).item() == pytest.approx(np.log(2) + dice)
    assert dice_ce(logits, target, torch.zeros_like(target)).item() == 0


def test_heads_weigh_half_as_much_each():
    target = torch.zeros(1, 1, 2, 2, 2)
    heads = torch.stack([torch.full((1, 1, 2, 2, 2), v) for v in (3.0, -3.0)], dim=1)
    each = [dice_ce(heads[:, i], target).item() for i in range(2)]
    total = supervised_loss(heads, target, torch.full_like(target, 2), "everywhere").item()
    assert total == pytest.approx((each[0] + 0.5 * each[1]) / 1.5)


def test_classes_are_disease_or_normal_where_the_threshold_is_reached():
    target = torch.tensor([1.0, 0, 1, 0]).reshape(1, 1, 1, 1, 4)
    region = torch.tensor([2.0, 2, 1, 0]).reshape(1, 1, 1, 1, 4)
    assert class_labels(target, region).ravel().tolist() == [1, 2, 1, 0]


def test_class_loss_by_hand():
    logits = torch.zeros(1, 3, 1, 1, 2)  # a third for each class
    labels = torch.tensor([1, 2]).reshape(1, 1, 1, 2)
    overlap = 1 - (2 / 3 + 1) / (2 / 3 + 1 + 1)  # of either class
    assert class_dice_ce(logits, labels).item() == pytest.approx(np.log(3) + overlap)
    only_first = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    there, absent = 1 - (2 / 3 + 1) / (1 / 3 + 1 + 1), 1 - 1 / (1 / 3 + 1)
    wanted = np.log(3) + (there + absent) / 2
    assert class_dice_ce(logits, labels, only_first).item() == pytest.approx(wanted)
    assert class_dice_ce(logits, labels, torch.zeros_like(only_first)).item() == 0
    heads = torch.stack([logits, logits], dim=1)
    both = (torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2), torch.full((1, 1, 1, 1, 2), 2.0))
    assert supervised_loss(heads, *both, "everywhere", True).item() == pytest.approx(np.log(3) + overlap)


def test_rates_fall_to_nothing():
    adam, sgd = (replace(QUICK, steps=10, optimiser=name) for name in ("adam", "sgd"))
    for config in (adam, sgd):
        rates = [learning_rate(config, step) for step in range(10)]
        assert rates[0] == config.learning_rate
        assert rates == sorted(rates, reverse=True)
        assert learning_rate(config, 10) == pytest.approx(0)
    assert learning_rate(adam, 5) == pytest.approx(5e-4)
    assert learning_rate(sgd, 5) == pytest.approx(1e-3 * 0.5**0.9)


@pytest.mark.parametrize("architecture", ["plain", "resenc"])
def test_a_network_of_classes_trains_on_its_own_tracers_grid(tmp_path, architecture):
    data = tmp_path / "data"
    write_patient(small_patient(3, "pet"), data / "train_0003", "train")
    network = CLASSES if architecture == "plain" else replace(CLASSES, architecture=architecture)
    (paths,) = cached_samples(case_folders(data), network, tmp_path / "cache")
    (path,) = paths
    assert path.name.endswith("-fdg.npz")
    sample = load_sample(path)
    assert sample.inputs.shape[0] == 4
    assert sample.target.shape[0] == 1
    config = replace(QUICK, steps=3, validate_every=3, optimiser="sgd")
    weights = train(TrainingRun([path], network, config, tmp_path / "run", held_out=[path]))
    assert all(torch.isfinite(value).all() for value in weights.values())
    row = (tmp_path / "run/validation.csv").read_text().splitlines()[1].split(",")
    assert row[2] == "nan"  # PSMA is not this network's
    assert 0 <= float(row[5]) <= 1


def test_another_truth_can_be_learnt(tmp_path):
    folder = write_train_case(tmp_path / "train_0001")
    case = load_case(folder)
    for tracer in Tracer:
        truth = case.study(tracer).truth.read()
        write_image(Volume(np.zeros_like(truth.voxels), truth.geometry), folder / tracer.upper() / "better.nii.gz")
    assert make_samples(case, SMALL_NETWORK)[Tracer.PSMA].target.any()
    assert not make_samples(case, SMALL_NETWORK, "better")[Tracer.PSMA].target.any()
    with pytest.raises(InputError, match=r"worse.nii.gz: no such truth"):
        make_samples(case, SMALL_NETWORK, "worse")
    wrong = truth.geometry.cropped(Box((0, 0, 0), (5, 5, 5)))
    write_image(Volume(np.zeros((5, 5, 5), np.uint8), wrong), folder / "PSMA/better.nii.gz")
    with pytest.raises(InputError, match="not on its PET's grid"):
        make_samples(case, SMALL_NETWORK, "better")


@pytest.mark.parametrize(("gone", "said"), [("CT", "no CT"), ("totseg_24", "no organ map")])
def test_what_a_network_is_fed_must_be_there(tmp_path, gone, said):
    folder = write_train_case(tmp_path / "train_0001")
    for tracer in Tracer:
        (folder / tracer.upper() / f"{gone}.nii.gz").unlink(missing_ok=True)
    with pytest.raises(InputError, match=said):
        make_samples(load_case(folder), CLASSES if gone == "CT" else replace(CLASSES, channels=("fdg_sdf-liver",)))


def test_a_network_for_one_tracer_wants_to_know_which():
    network, _ = command.load_settings("paire-compact-sdf", "fdg")
    assert network.channels[:3] == ("fdg_ratio", "fdg_ct", "fdg_sdf-spleen")
    assert network.outputs == ("background", "fdg", "fdg_normal")
    with pytest.raises(ConfigurationError, match="name psma or fdg"):
        command.load_settings("paire-compact-sdf")
    with pytest.raises(ConfigurationError, match="leave it out"):
        command.load_settings("compact", "fdg")


def test_a_run_interrupted_resumes_to_the_same_weights(samples, tmp_path):
    def run(out):
        config = replace(QUICK, validate_every=2, selection="validation")
        return TrainingRun(samples[:2], SMALL_NETWORK, config, out, seed=1, checkpoint_every=2, held_out=samples[2:])

    whole = train(run(tmp_path / "whole"))
    last = 2  # between two validations, after a checkpoint that is not the last step's

    class Interrupted(Exception):
        pass

    def stop(step, loss):
        if step == last:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(run(tmp_path / "parts"), on_step=stop)
    resumed = train(run(tmp_path / "parts"), resume=True)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    curves = [(tmp_path / part / "curve.csv").read_text().splitlines() for part in ("whole", "parts")]
    losses = [[line.split(",")[:2] for line in curve] for curve in curves]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 1 + QUICK.steps
    validations = [(tmp_path / part / "validation.csv").read_text() for part in ("whole", "parts")]
    assert validations[0] == validations[1]
    assert [line.split(",")[0] for line in validations[0].splitlines()] == ["step", "1", "3", "5"]


def test_training_goes_on_from_weights(samples, tmp_path):
    begun = train(TrainingRun(samples, SMALL_NETWORK, replace(QUICK, steps=2), tmp_path / "a"))
    member = write_member(tmp_path / "m", SMALL_NETWORK, begun, {})
    barely = replace(QUICK, steps=1, learning_rate=1e-12, average_decay=0.0)
    gone_on = train(TrainingRun(samples, SMALL_NETWORK, barely, tmp_path / "b", start=member))
    assert all(torch.allclose(gone_on[key], begun[key], atol=1e-3) for key in begun)
    other = replace(SMALL_NETWORK, filters=(4, 4, 4, 8))
    with pytest.raises(WeightsError, match="another shape"):
        train(TrainingRun(samples, other, barely, tmp_path / "c", start=member))


def test_what_a_training_does_not_see_is_said(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, replace(QUICK, steps=1)))
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    (data / "train_0003/FDG/totseg_24.nii.gz").unlink()
    assert main(["train", str(data), str(tmp_path / "run"), "--device", "cpu"]) == 0
    line = "train_0003: no FDG organ map: the network sees no organs"
    assert f"note: {line}" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "run/cds-compact/manifest.json").read_text())
    assert line in manifest["training"]["fallbacks"]


def test_a_ct_that_a_training_does_not_see_is_said(cohort):
    seeing = replace(SMALL_NETWORK, channels=(*SMALL_NETWORK.channels, "fdg_density"))
    case = load_case(case_folders(cohort)[0])
    assert notes_on(case, seeing) == [] if case.fdg.ct is not None else ["no FDG CT: the network sees none"]
    without = replace(case, studies={t: replace(s, ct=None) for t, s in case.studies.items()})
    assert notes_on(without, seeing) == ["no FDG CT: the network sees none"]


def test_a_spoilt_list_of_samples_is_one_line(cohort, tmp_path):
    folders = case_folders(cohort)[:1]
    ((first, _),) = cached_samples(folders, SMALL_NETWORK, tmp_path)
    next(first.parent.glob("*.json")).write_text('["train')
    with pytest.raises(InputError, match="not readable as JSON"):
        list(cached_samples(folders, SMALL_NETWORK, tmp_path))


def test_a_negative_seed_is_one_line(cohort, tmp_path, capsys):
    assert main(["train", str(cohort), str(tmp_path / "run"), "--seed", "-1"]) == 5
    assert "--seed: -1" in capsys.readouterr().err


def test_a_training_that_diverges_stops_before_anything_is_kept(samples, tmp_path, monkeypatch):
    losses = iter([0.5, 0.4, float("nan")])
    monkeypatch.setattr(loop, "_step", lambda *_: next(losses))
    with pytest.raises(ConfigurationError, match="loss of step 2 is nan"):
        train(TrainingRun(samples, SMALL_NETWORK, QUICK, tmp_path, checkpoint_every=2))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_training_learns(samples, tmp_path):
    config = replace(QUICK, steps=60, learning_rate=1e-2, augmentations=("none",), validate_every=5)
    train(TrainingRun(samples, SMALL_NETWORK, config, tmp_path, held_out=samples[:1]))
    losses = [float(line.split(",")[1]) for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.9 * losses[0]


def test_the_weights_of_the_lowest_validation_loss_are_kept(samples, tmp_path, monkeypatch):
    seen = []

    def falls_then_rises(network, *_):
        seen.append({key: value.clone() for key, value in network.state_dict().items()})
        return Validation([3.0, 1.0, 2.0][len(seen) - 1], {tracer: Agreement(0, 0, 0) for tracer in Tracer})

    monkeypatch.setattr(loop, "validate", falls_then_rises)
    config = replace(QUICK, validate_every=2, selection="validation")
    run = TrainingRun(samples, SMALL_NETWORK, config, tmp_path, held_out=samples[:1])
    kept = train(run)
    assert all(torch.equal(kept[key], seen[1][key]) for key in kept)
    assert any(not torch.equal(kept[key], seen[2][key]) for key in kept)
    # A finished run, resumed, still knows them; and without held-out cases the last ones are kept.
    again = train(run, resume=True)
    assert all(torch.equal(kept[key], again[key]) for key in kept)
    last = train(replace(run, held_out=(), out=tmp_path / "other"))
    assert all(torch.allclose(last[key], seen[2][key]) for key in last)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(samples, tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint.pt: no checkpoint"):
        train(TrainingRun(samples, SMALL_NETWORK, QUICK, tmp_path), resume=True)


def test_a_checkpoint_with_code_in_it_is_not_run(samples, tmp_path):
    class Code:
        def __reduce__(self):
            return print, ("run!",)

    torch.save({"identity": Code()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint.pt: no checkpoint"):
        train(TrainingRun(samples, SMALL_NETWORK, QUICK, tmp_path), resume=True)


def test_a_checkpoint_of_another_run_is_refused(samples, tmp_path):
    train(TrainingRun(samples, SMALL_NETWORK, replace(QUICK, steps=1), tmp_path))
    other = TrainingRun(samples, SMALL_NETWORK, replace(QUICK, steps=2), tmp_path)
    with pytest.raises(InputError, match=r"another run \(other config\)"):
        train(other, resume=True)


def test_no_samples_is_refused(tmp_path):
    with pytest.raises(InputError, match="no samples"):
        train(TrainingRun([], SMALL_NETWORK, QUICK, tmp_path))


def test_train_then_segment_from_the_command_line(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, QUICK))
    arguments = ["train", str(cohort), str(tmp_path / "run"), "--steps", "2", "--device", "cpu", "--describe", "a test"]
    assert main(arguments) == 0
    assert main(arguments) == 5  # never over an earlier training
    assert "add --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert main([*arguments, "--resume", "--from", str(tmp_path / "nowhere")]) == 4
    assert main([*arguments, "--name", "../elsewhere"]) == 5
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
    member = WeightsStore((tmp_path / "run",)).member("cds-compact")
    assert member.trained_on == "a test"
    assert member.training["cases"] == 2
    case = next(cohort.glob("train_*"))
    assert (
        main(["segment", str(case), str(tmp_path / "out"), "--weights", str(tmp_path / "run"), "--device", "cpu"]) == 0
    )
    assert json.loads((tmp_path / "out/run_report.json").read_text())["members"][0]["trained_on"] == "a test"
    assert "a test" in capsys.readouterr().out


def test_a_gpu_that_cannot_be_used_is_said_and_kept_in_the_manifest(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, replace(QUICK, steps=1)))
    monkeypatch.setattr(command, "plan_compute", lambda wanted: (cpu_plan(), "GPU not used: too old"))
    member = command.run_training(command.TrainRequest(cohort, tmp_path / "run"))
    assert "note: GPU not used: too old" in capsys.readouterr().err
    assert member.training["fallbacks"] == ["GPU not used: too old"]
    assert member.training["device"].endswith("bfloat16")


def test_curves_that_cannot_be_drawn_are_said(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, replace(QUICK, steps=1)))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    member = command.run_training(command.TrainRequest(cohort, tmp_path / "run", device="cpu"))
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert member.training["fallbacks"] == ["no picture of the curves: matplotlib is not installed"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": 0}, "steps, batch"),
        ({"validate_every": 0}, "steps, batch"),
        ({"optimiser": "newton"}, "optimiser must be"),
        ({"selection": "best"}, "selection must be"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"augmentations": ("mirror",)}, "augmentations"),
        ({"flip_axes": ("w",)}, "flip axes"),
        ({"average_decay": 1.0}, "average decay"),
        ({"loss_where": "nowhere"}, "loss_where"),
        ({"scale_range": (1.4, 0.9)}, "scale range"),
        ({"scale_range": (0.9,)}, "scale range"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        replace(QUICK, **change)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="unknown keys"):
        TrainingConfig.from_dict({"network": "cds", "steps": 1, "batch": 1, "learning_rate": 1.0, "epochs": 3})
    with pytest.raises(ConfigurationError, match="choose one of"):
        command.load_settings("nothing")


@pytest.mark.parametrize("name", names("training"))
def test_shipped_settings_are_valid(name):
    network, config = command.load_settings(name, "psma" if name.startswith("paire") else "")
    assert config.network == name.removesuffix("-random")  # "-random" is how it is trained
    assert network.patch_zyx

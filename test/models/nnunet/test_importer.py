import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.cases import TINY_NETWORK
from builders.nnunet_models import write_model

from deeppsma.cli.commands import main
from deeppsma.core.errors import WeightsError
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.build import build_network
from deeppsma.models.config import load_network
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.nnunet.importer import ImportRequest, import_weights
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import read_member
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.preprocessing.channels import make_channel
from deeppsma.preprocessing.organ_contrast import organ_contrast
from deeppsma.preprocessing.prepared_case import PreparedCase

CHANNELS = ["ratio", "ct", "organ-bones"]


def run(*arguments):
    return main(["weights", "import", *map(str, arguments)])


def test_an_imported_model_segments(platform_case, tmp_path, capsys):
    for tracer in Tracer:
        write_model(tmp_path / f"model_{tracer}", folds=("0", "1"))
        arguments = [tmp_path / f"model_{tracer}", tmp_path / f"weights/nn-{tracer}", "--tracer", tracer]
        assert run(*arguments, "--channels", *CHANNELS, "--describe", "a test") == 0
    member = read_member(tmp_path / "weights/nn-fdg")
    assert isinstance(member.network, ModelConfig)
    assert member.network.folds == ("0", "1")
    assert member.trained_on == "a test"
    recipe = Recipe("r", ("nn-psma", "nn-fdg"), "single", average="probabilities", cutoffs={"fdg": 0.2, "psma": 0.2})
    store = WeightsStore((tmp_path / "weights",))
    results = [segment(load_case(platform_case), recipe, store, "cpu") for _ in range(2)]
    for tracer in Tracer:
        first, second = (result.masks[tracer].voxels for result in results)
        assert np.array_equal(first, second)
        pet = load_case(platform_case).study(tracer)
        assert not (first > 0)[pet.read_pet().voxels < pet.threshold_suv].any()
    assert [each.name for each in results[0].report.members] == ["nn-psma", "nn-fdg"]
    assert "a test" in results[0].report.notice
    assert main(["recipes", "--weights", str(tmp_path / "weights")]) == 0
    assert "nn-fdg: PlainConvUNet, ratio, ct, organ-bones, 2 fold(s)" in capsys.readouterr().out


def test_windows_that_cannot_matter_change_nothing(platform_case, tmp_path):
    from deeppsma.inference.device import cpu_plan
    from deeppsma.inference.nnunet import plan_model_task
    from deeppsma.inference.run import window_runner

    write_model(tmp_path / "model", "transposed", folds=("all",))
    member = import_weights(ImportRequest(tmp_path / "model", tmp_path / "m", "fdg", tuple(CHANNELS)), TINY_NETWORK)
    case = load_case(platform_case)
    job = plan_model_task(member.network, PreparedCase(case, keep_whole=True))
    runner = window_runner(member.load(), cpu_plan())
    assert np.array_equal(job.run(runner)[Tracer.FDG], job.run(runner, skip=False)[Tracer.FDG])


def test_a_model_may_be_fed_uptake_against_the_organ(platform_case):
    case = load_case(platform_case)
    pet, organs = case.fdg.read_pet(), case.fdg.read_organs()
    image = make_channel("contrast", PreparedCase(case, keep_whole=True).whole_sight(Tracer.FDG)).image
    labels = resample(organs, pet.geometry, labels=True)
    assert np.allclose(image, organ_contrast(pet.voxels, labels, 2.5), atol=1e-6)


def test_a_checkpoint_of_the_first_reports_network(tmp_path):
    torch.manual_seed(0)
    network = build_network(TINY_NETWORK)
    state = {f"model.net.{key.removeprefix('unet.')}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 2e-4}}, tmp_path / "last.ckpt")
    member = import_weights(ImportRequest(tmp_path / "last.ckpt", tmp_path / "mine"), TINY_NETWORK)
    wanted = dict(network.named_parameters())
    for key, value in member.load().named_parameters():
        assert torch.allclose(value, wanted[key], atol=1e-2, rtol=1e-3)
    assert member.trained_on == "unknown data; imported from last.ckpt"
    request = ImportRequest(tmp_path / "last.ckpt", tmp_path / "other")
    with pytest.raises(WeightsError, match=r"among its weights|no weights of shape"):
        import_weights(request, load_network("cds"))
    with pytest.raises(WeightsError, match="no weights of shape"):
        import_weights(request, replace(TINY_NETWORK, filters=(4, 4, 4, 8)))
    for content in ([1], {"state_dict": 3}, {"state_dict": {"a": torch.ones(1)}}):
        torch.save(content, tmp_path / "last.ckpt")
        with pytest.raises(WeightsError, match=r"last.ckpt: (a list|no )"):
            import_weights(request, TINY_NETWORK)
    assert not (tmp_path / "other").exists()


class Evil:
    def __reduce__(self):
        return print, ("this code ran",)


def spoil_plans(folder, **change):
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"] |= change
    (folder / "plans.json").write_text(json.dumps(plans))


def spoil_dataset(folder, **change):
    (folder / "dataset.json").write_text(json.dumps(json.loads((folder / "dataset.json").read_text()) | change))


def spoil_checkpoint(folder, **change):
    path = folder / "fold_0/checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | change, path)


BAD_FOLDERS = {
    "no such": (shutil.rmtree, "no such file or folder"),
    "no plans": (lambda f: (f / "plans.json").unlink(), "no plans.json there"),
    "no dataset": (lambda f: (f / "dataset.json").unlink(), "no dataset.json there"),
    "no folds": (lambda f: shutil.rmtree(f / "fold_0"), "no fold_*/checkpoint_final.pth there"),
    "cut json": (lambda f: (f / "plans.json").write_text('{"a": '), "plans.json"),
    "a list": (lambda f: (f / "plans.json").write_text("[]"), "plans.json: incomplete plans"),
    "other channels": (
        lambda f: spoil_dataset(f, channel_names={"0": "PET", "1": "CT"}),
        "3 normalisations for the data set's 2 channels",
    ),
    "code": (lambda f: spoil_checkpoint(f, extra=Evil()), "asks for code to be run"),
    "empty file": (lambda f: (f / "fold_0/checkpoint_final.pth").write_bytes(b""), "checkpoint_final.pth"),
    "cut file": (
        lambda f: (f / "fold_0/checkpoint_final.pth").write_bytes(
            (f / "fold_0/checkpoint_final.pth").read_bytes()[:5000]
        ),
        "checkpoint_final.pth: not readable",
    ),
    "no weights": (lambda f: spoil_checkpoint(f, network_weights={}), "weights of another network"),
    "not a table": (lambda f: torch.save([1], f / "fold_0/checkpoint_final.pth"), "a list, no checkpoint"),
    "other sizes": (
        lambda f: spoil_checkpoint(
            f,
            network_weights={
                k: v[..., :1] if k == "encoder.stages.0.0.convs.0.conv.weight" else v
                for k, v in torch.load(f / "fold_0/checkpoint_final.pth")["network_weights"].items()
            },
        ),
        "weights of another network",
    ),
    "no table": (lambda f: spoil_checkpoint(f, network_weights=None), "no table of weights"),
    "NaN": (
        lambda f: spoil_checkpoint(
            f,
            network_weights={
                k: v * float("nan") for k, v in torch.load(f / "fold_0/checkpoint_final.pth")["network_weights"].items()
            },
        ),
        "NaN or infinite weights",
    ),
    "a web page": (
        lambda f: (f / "fold_0/checkpoint_final.pth").write_text("<!doctype html><html>"),
        "damaged, or no checkpoint",
    ),
    "a cut pickle": (lambda f: (f / "fold_0/checkpoint_final.pth").write_bytes(b"\x80\x02\x8a\x0al"), "final.pth: "),
    "named channels": (
        lambda f: spoil_dataset(f, channel_names={"PET": 0, "CT": 1, "x": 2}),
        "invalid literal",
    ),
    "no configuration": (lambda f: spoil_checkpoint(f, init_args={}), "no nnU-Net model"),
    "another configuration": (
        lambda f: spoil_checkpoint(f, init_args={"configuration": "2d"}),
        "no configuration '2d'",
    ),
    "no disease": (lambda f: spoil_dataset(f, labels={"background": 0, "a": 1, "b": 2}), "no class of disease"),
    "an odd class": (lambda f: spoil_dataset(f, labels={"background": 0, "ttb": 1, "b": 2}), "3 classes; wanted are"),
    "a cascade": (lambda f: spoil_plans(f, previous_stage="3d_lowres"), "a cascade's second stage"),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_a_bad_folder_is_one_line_and_nothing_is_written(tmp_path, capsys, kind):
    folder = write_model(tmp_path / "model")
    spoil, said = BAD_FOLDERS[kind]
    spoil(folder)
    assert run(folder, tmp_path / "out", "--tracer", "fdg", "--channels", *CHANNELS) != 0
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert said in line
    assert "this code ran" not in captured.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name psma or fdg"),
        (["--tracer", "fdg"], "the model is fed PET, CT, heart"),
        (["--tracer", "fdg", "--channels", "ct", "ratio", "organs"], "normalise as a CT"),
        (["--tracer", "fdg", "--channels", "ratio", "ct"], "2 channels named, and the model has 3"),
        (["--tracer", "fdg", "--channels", "ratio", "ct", "heart"], "unknown channels"),
        (["--tracer", "fdg", "--folds", "4"], "not readable"),
    ],
)
def test_what_must_be_said_is_asked_for(tmp_path, capsys, arguments, said):
    folder = write_model(tmp_path / "model", channels={"0": "PET", "1": "CT", "2": "heart"})
    assert run(folder, tmp_path / "out", *arguments) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_member_is_never_replaced(tmp_path, capsys):
    folder = write_model(tmp_path / "model")
    arguments = [folder, tmp_path / "out", "--tracer", "fdg", "--channels", *CHANNELS]
    assert run(*arguments) == 0
    assert run(*arguments) != 0
    assert "a member is there" in capsys.readouterr().err


def test_a_spoilt_manifest_is_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    run(folder, tmp_path / "out", "--tracer", "fdg", "--channels", *CHANNELS)
    path = tmp_path / "out/manifest.json"
    whole = json.loads(path.read_text())
    for change in ({"tracer": "pet"}, {"channels": ["ratio"]}, {"folds": []}, {"disease": 2}, {"plan": {}}, {"x": 1}):
        path.write_text(json.dumps(whole | {"nnunet": whole["nnunet"] | change}))
        with pytest.raises(WeightsError, match="not a valid manifest"):
            read_member(tmp_path / "out")

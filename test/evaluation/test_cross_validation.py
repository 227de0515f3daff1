import json
from dataclasses import replace

import pytest
from builders.networks import CLASSES, QUICK, SMALL_NETWORK

from deeppsma.cli.commands import main
from deeppsma.core.errors import InputError
from deeppsma.evaluation import cross_validation as crossval
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.training import command
from deeppsma.training.folds import Folds

NAMES = [f"train_{i:04d}" for i in range(13)]


def test_each_case_is_held_out_once():
    folds = Folds.draw(NAMES)
    assert folds.names == NAMES
    assert sorted(len(fold) for fold in folds.held_out) == [2, 2, 3, 3, 3]
    for number, held_out in enumerate(folds.held_out):
        assert sorted([*folds.trained_on(number), *held_out]) == NAMES
    assert Folds.draw(NAMES[::-1]) == folds
    assert Folds.draw(NAMES, seed=1) != folds


@pytest.mark.parametrize("held_out", [(("a",),), (("a",), ()), (("a",), ("a", "b"))])
def test_impossible_folds_are_refused(held_out):
    with pytest.raises(ValueError, match=r"two folds|twice"):
        Folds(held_out)


def test_a_fold_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="0 to 4, not 5"):
        Folds.draw(NAMES).trained_on(5)


def test_folds_are_kept_in_a_file(tmp_path):
    folds = Folds.draw(NAMES)
    folds.write(tmp_path / "folds.json")
    assert Folds.read(tmp_path / "folds.json") == folds
    for content in ("{}", "[]", '{"held_out": [["a"]]}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match="no folds"):
            Folds.read(tmp_path / "bad.json")


def test_folds_are_trained_and_scored_on_what_they_have_not_seen(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, QUICK))
    trained = []
    run_training = command.run_training
    monkeypatch.setattr(crossval, "run_training", lambda request: trained.append(request.fold) or run_training(request))
    arguments = ["crossval", str(cohort), str(tmp_path / "cv"), "--folds", "2", "--steps", "1", "--device", "cpu"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert trained == [0, 1]
    for row in ("| fold 0 | PSMA |", "| fold 1 | FDG |", "| all | PSMA |"):
        assert row in out
    folds = Folds.read(tmp_path / "cv/folds.json")
    for number in range(2):
        manifest = json.loads((tmp_path / f"cv/fold_{number}/cds-compact/manifest.json").read_text())
        assert manifest["training"]["fold"] == number
        assert manifest["training"]["cases"] == 1
        scored = json.loads((tmp_path / f"cv/fold_{number}/scores.json").read_text())
        assert tuple(scored["of"]["cases"]) == folds.held_out[number]
    assert len((tmp_path / "cv/crossval.csv").read_text().splitlines()) == 1 + 2 * 2
    assert (tmp_path / "cv/crossval.md").read_text().strip() in out

    def never(*_):
        pytest.fail("scored again")

    monkeypatch.setattr(crossval, "segment", never)
    assert main(arguments) == 0  # all is there
    assert trained == [0, 1]
    assert capsys.readouterr().out == out
    assert main([*arguments[:4], "3", *arguments[5:]]) == 2
    assert "folds of other cases" in capsys.readouterr().err
    assert main([*arguments, "--seed", "1"]) == 2
    assert "another request was begun here (other seed)" in capsys.readouterr().err
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, replace(QUICK, learning_rate=0.5)))
    assert main(arguments) == 2  # the same name, and other settings in it
    assert "another request was begun here (other config)" in capsys.readouterr().err
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, QUICK))
    (tmp_path / "cv/fold_0/scores.json").write_text('{"of": ')  # cut off: scored anew
    with pytest.raises(pytest.fail.Exception):
        main(arguments)


def test_a_recipe_that_the_folds_cannot_fill_is_refused_at_once(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crossval, "run_training", lambda request: pytest.fail("trained"))
    assert main(["crossval", str(cohort), str(tmp_path / "cv"), "--recipe", "nonsense"]) == 5
    monkeypatch.setattr(crossval, "load_recipe", lambda name: replace(load_recipe("single"), members=("other",)))
    assert main(["crossval", str(cohort), str(tmp_path / "cv")]) == 5
    assert "asks for other" in capsys.readouterr().err


def test_a_network_for_one_tracer_is_refused_at_once(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crossval, "run_training", lambda request: pytest.fail("trained"))
    monkeypatch.setattr(crossval, "load_settings", lambda *_: (CLASSES, QUICK))
    assert main(["crossval", str(cohort), str(tmp_path / "cv")]) == 5
    assert "serves one tracer" in capsys.readouterr().err


def test_more_folds_than_cases_are_refused(cohort, tmp_path, capsys):
    assert main(["crossval", str(cohort), str(tmp_path / "cv"), "--folds", "5"]) == 5
    assert "5 folds of 2 cases" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [([], "no file of folds"), (["--folds", "FILE"], "folds of other cases"), (["--folds", "OWN"], "0 to 1")],
)
def test_a_fold_needs_its_file(cohort, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, QUICK))
    Folds.draw(NAMES).write(tmp_path / "FILE")
    Folds.draw(["train_0003", "train_0004"], 2).write(tmp_path / "OWN")
    more = [str(tmp_path / m) if m.isupper() else m for m in more]
    assert main(["train", str(cohort), str(tmp_path / "run"), "--fold", "7", *more]) != 0
    assert said in capsys.readouterr().err


def test_folds_without_a_fold_are_refused(cohort, tmp_path, monkeypatch, capsys):
    Folds.draw(["train_0003", "train_0004"], 2).write(tmp_path / "folds.json")
    arguments = ["train", str(cohort), str(tmp_path / "run"), "--folds", str(tmp_path / "folds.json")]
    assert main(arguments) == 5
    assert "no fold chosen" in capsys.readouterr().err

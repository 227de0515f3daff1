import pytest

from deeppsma.core import settings as resources
from deeppsma.core.anatomy import BLADDER, KIDNEY_LEFT, KIDNEY_RIGHT, LIVER
from deeppsma.core.defaults import DEFAULT_RECIPE, SUBMITTED_RECIPE
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing, Recipe, all_recipes, load_recipe


def test_the_reports_five_are_there():
    recipes = {recipe.name: recipe for recipe in all_recipes()}
    assert {"single", "single_plus", "bothways", "bothways_plus", "ensemble"} <= set(recipes)
    assert (DEFAULT_RECIPE, SUBMITTED_RECIPE) == ("second_opinion", "bothways")
    for name in ("single_plus", "bothways_plus", "ensemble"):
        assert recipes[name].growing == Growing(5.0, (KIDNEY_RIGHT, KIDNEY_LEFT, LIVER, BLADDER))
    for name in ("single", "bothways"):
        assert recipes[name].growing is None
    assert recipes["single_plus"].fusion == recipes["single"].fusion == "single"
    assert recipes["bothways_plus"].fusion == recipes["ensemble"].fusion == recipes["bothways"].fusion == "bothways"
    assert recipes["ensemble"].members == ("*",)
    assert all(recipe.window_overlap == 0.5 for recipe in recipes.values())


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ConfigurationError, match=r"bothways.*single_plus"):
        load_recipe("soup")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("members = [", "not readable as TOML"),
        ('fusion = "single"', "members"),
        ('members = ["a"]\nfusion = "sideways"', "fusion must be one of"),
        ('members = []\nfusion = "single"', "members must be"),
        ('members = ["*", "a"]\nfusion = "single"', "members must be"),
        ('members = ["a"]\nfusion = "single"\nwindow_overlap = 1.0', "window_overlap"),
        ('members = ["a"]\nfusion = "single"\nradius = 5', "unknown keys"),
        ('members = ["a"]\nfusion = "single"\nname = "b"', "unknown keys"),
        ('members = ["a"]\nfusion = "single"\n[cutoffs]\nfdg = 1.0', "cutoffs must be"),
        ('members = ["a"]\nfusion = "single"\n[cutoffs]\nct = 0.5', "cutoffs must be"),
        ('members = "a"\nfusion = "single"', "members: expected array, got str"),
        ('members = ["a", "a"]\nfusion = "single"', "members must be names, once each"),
        ('members = [1]\nfusion = "single"', r"members\[0\]: expected str, got int"),
        ('members = ["a"]\nfusion = "single"\nrefinement = true', "refinement: expected str, got bool"),
        (
            'members = ["a"]\nfusion = "single"\n[growing]\nradius_mm = 5\nkept_organs = [1.5]',
            r"growing.kept_organs\[0\]: expected int, got float",
        ),
        ('members = ["a"]\nfusion = "single"\naverage = "votes"', "average must be"),
        ('members = ["a"]\nfusion = "bothways"\naverage = "probabilities"', "fusion must be single"),
        ('members = ["a"]\nfusion = "single"\n[normal_cutoffs]\nfdg = 0.5', "belong to average"),
        ('members = ["a"]\nfusion = "single"\n[member_weights]\na = 2', "belong to average"),
        (
            'members = ["a"]\nfusion = "single"\naverage = "probabilities"\n[member_weights]\nb = 2',
            "member_weights must be",
        ),
        (
            'members = ["a"]\nfusion = "single"\naverage = "probabilities"\n[member_weights]\na = 0',
            "member_weights must be",
        ),
        ('members = ["a"]\nfusion = "single"\n[growing]\nradius_mm = 5\nfdg_kept_organs = [0]', "kept_organs must be"),
        ('members = ["a"]\nfusion = "single"\n[growing]\nradius_mm = 0', "radius_mm must be"),
        (
            'members = ["a"]\nfusion = "single"\n[growing]\nkept_organs = [1]',
            "growing: object missing required field radius_mm",
        ),
        (
            'members = ["a"]\nfusion = "single"\n[growing]\nradius_mm = 5\nkept_organ = [1]',
            "unknown key growing.kept_organ",
        ),
        ('members = ["a"]\nfusion = "single"\ngrowing = 5', "growing: expected object"),
        ('members = ["a"]\nfusion = "single"\n[growing]\nradius_mm = 5\nkept_organs = [118]', "kept_organs must be"),
    ],
)
def test_nonsense_is_refused(text, match, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/odd.toml").write_text(text)
    monkeypatch.setattr(resources, "resources_folder", lambda: tmp_path)
    with pytest.raises(ConfigurationError, match=match):
        load_recipe("odd")


def test_cutoffs_are_a_half_unless_named():
    recipe = Recipe("r", ("m",), "single", cutoffs={"fdg": 0.25})
    assert (recipe.cutoff(Tracer.FDG), recipe.cutoff(Tracer.PSMA)) == (0.25, 0.5)


def test_plain_values_for_the_report():
    assert Recipe("r", ("m",), "single", growing=Growing(7.0, (2,))).as_dict()["growing"] == {
        "radius_mm": 7.0,
        "kept_organs": (2,),
        "fdg_kept_organs": (),
    }


def test_the_second_reports_recipe():
    paire = load_recipe("paire")
    assert paire.average == "probabilities"
    assert [paire.cutoff(tracer) for tracer in Tracer] == [0.5, 0.25]
    assert [paire.normal_cutoff(tracer) for tracer in Tracer] == [0.5, 0.75]
    assert paire.growing == Growing(5.0, (1, 2, 3, 5, 21), (90,))
    assert paire.refinement == "published"
    assert paire.member_weights == {"paire-fdg-baseline": 3.0}


#: Of networks that are not ours to ship.
DOWNLOADED = ("gtrc", "gtrc_quick", "lesiontracer")


@pytest.mark.parametrize("recipe", [r for r in all_recipes() if r.name not in DOWNLOADED], ids=lambda r: r.name)
def test_every_recipe_finds_its_members_in_a_fresh_clone(recipe):
    assert Method.choose(recipe, WeightsStore.default()).tracers == tuple(Tracer)


def test_one_recipe_alone_is_called_the_default():
    """``deeppsma recipes`` marks it; a summary that says so of another was left behind."""
    assert not [recipe.name for recipe in all_recipes() if "default" in recipe.summary]

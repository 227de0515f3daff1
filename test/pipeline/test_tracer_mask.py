import numpy as np
import pytest
from builders.answers import BOTH, FDG_MEMBER, classes, logits_of, paire

from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing
from deeppsma.pipeline.tracer_mask import probabilities, tracer_mask
from deeppsma.postprocessing.region_growing import grow
from deeppsma.preprocessing.prepared_case import PreparedCase


@pytest.fixture
def case(platform_case):
    return PreparedCase(load_case(platform_case))


@pytest.mark.parametrize(("cutoff", "found"), [(0.2, True), (0.3, False)])
def test_probabilities_are_averaged_by_weight(case, cutoff, found):
    # 0.75 of the one and 0 of the other, in proportion 1 to 2: 0.25.
    logits = logits_of(case, lambda n: classes(0.05, 0.75, 0.2, n), both=-30.0)
    method = Method(paire(member_weights={"both": 2.0}, cutoffs={"fdg": cutoff}), (FDG_MEMBER, BOTH))
    masks = {tracer: tracer_mask(tracer, method, case, logits).mask for tracer in Tracer}
    probability = probabilities(method, case, logits)[Tracer.FDG]
    assert np.allclose(probability[case.spaces[Tracer.FDG].hot], 0.25, atol=1e-3)
    assert not probability[~case.spaces[Tracer.FDG].hot].any()
    assert masks[Tracer.FDG].any() == found
    assert np.array_equal(masks[Tracer.FDG], case.spaces[Tracer.FDG].hot & found)
    assert not masks[Tracer.PSMA].any()


def test_normal_uptake_goes_after_growing(case):
    hot = case.spaces[Tracer.FDG].hot
    n = int(hot.sum())
    third = np.arange(n) < n // 3
    rest = (np.arange(n) >= n // 3) & (np.arange(n) < n // 2)

    def logits(n):
        values = classes(0.9, 0.05, 0.05, n)
        values[:, third] = classes(0.02, 0.96, 0.02, 1)
        values[:, rest] = classes(0.05, 0.05, 0.9, 1)
        return values

    recipe = paire(normal_cutoffs={"fdg": 0.75}, growing=Growing(500.0 / 10))
    method = Method(recipe, (FDG_MEMBER, BOTH))
    found = tracer_mask(Tracer.FDG, method, case, logits_of(case, logits, both=0.0)).mask
    seed = np.zeros_like(hot)
    seed[hot] = third
    grown = grow(seed, hot, case.spaces[Tracer.FDG].geometry.spacing_zyx, 50.0, np.zeros_like(hot))
    normal = np.zeros_like(hot)
    normal[hot] = rest
    assert (grown & normal).any()
    assert np.array_equal(found, grown & ~normal)

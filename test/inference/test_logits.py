import numpy as np
import pytest

from deeppsma.core.tracer import Tracer
from deeppsma.inference.logits import Logits, mean_logits, mean_probabilities

FDG = (Tracer.FDG, Tracer.FDG)


def test_a_place_is_a_tracer_and_whose_space_it_was_seen_from():
    logits = Logits().joined(Tracer.PSMA, {Tracer.FDG: np.zeros((1, 3), np.float32)})
    assert logits.knows(Tracer.FDG, seen_from=Tracer.PSMA)
    assert not logits.knows(Tracer.FDG, seen_from=Tracer.FDG)
    assert logits.of(Tracer.FDG, seen_from=Tracer.PSMA).shape == (1, 3)
    with pytest.raises(KeyError):
        logits.of(Tracer.PSMA, seen_from=Tracer.PSMA)
    with pytest.raises(ValueError, match="two axes"):
        Logits({FDG: np.zeros(3, np.float32)})


def test_the_ensemble_averages_logits_not_votes():
    members = [Logits({FDG: np.array([[3.0, -1.0]], np.float32)}), Logits({FDG: np.array([[-1.0, -1.0]], np.float32)})]
    assert mean_logits(members).of(*FDG).tolist() == [[1.0, -1.0]]
    with pytest.raises(ValueError, match="needs a member"):
        mean_logits([])


def test_probabilities_are_averaged_by_hand():
    two = np.log(np.array([[0.1, 0.5], [0.6, 0.2], [0.3, 0.3]], np.float32))  # background, disease, normal
    one = np.array([[0.0, np.log(3)]], np.float32)  # 0.5, 0.75
    disease, normal = mean_probabilities([two, one], [1, 3])
    assert disease == pytest.approx([0.6 / 4 + 0.5 * 3 / 4, 0.2 / 4 + 0.75 * 3 / 4])
    assert normal == pytest.approx([0.3, 0.3])  # the second member knows nothing of it
    assert mean_probabilities([one], [1])[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match="needs a member"):
        mean_probabilities([], [])

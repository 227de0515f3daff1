from deeppsma.reporting.words import number, number_ml


def test_figures_in_words():
    assert number_ml(0.0) == "0.0"
    assert number_ml(0.01) == "< 0.1"
    assert number_ml(0.06) == "0.1"
    assert number(float("nan")) == number(float("inf")) == "\N{EN DASH}"

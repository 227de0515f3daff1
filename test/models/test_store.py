import pytest
from builders.cases import write_tiny_member

from deeppsma.core.errors import WeightsError
from deeppsma.models.store import WeightsStore


def test_the_first_folder_wins(tmp_path):
    write_tiny_member(tmp_path / "a/m", seed=1)
    write_tiny_member(tmp_path / "b/m", seed=2)
    write_tiny_member(tmp_path / "b/n", seed=3)
    store = WeightsStore((tmp_path / "a", tmp_path / "nowhere", tmp_path / "b"))
    assert store.names() == ["m", "n"]
    assert store.member("m").folder == tmp_path / "a/m"


def test_a_member_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"there are: .*cds-compact"):
        WeightsStore.default().member("best")


def test_a_stand_in_is_named_by_whom_it_stands_in_for(tmp_path):
    write_tiny_member(tmp_path / "a/m", seed=1)
    write_tiny_member(tmp_path / "a/m/without-organ-maps", seed=2)
    write_tiny_member(tmp_path / "a/n", seed=3)
    store = WeightsStore((tmp_path / "a",))
    assert store.member("m/without-organ-maps") == store.member("m").stand_in()
    assert store.missing_stand_ins(("m", "m/without-organ-maps", "n/without-organ-maps")) == ["n/without-organ-maps"]
    assert store.missing_stand_ins(("*",)) == []
    with pytest.raises(WeightsError, match=r"n/without-organ-maps: no such member; put one into the folder of n"):
        store.member("n/without-organ-maps")
    with pytest.raises(WeightsError, match="no such member; there are: m, n"):
        store.missing_stand_ins(("o/without-organ-maps",))


def test_all_members_means_those_of_the_first_folder_that_has_any(tmp_path):
    for name in ("a/m0", "a/m1", "b/shipped"):
        write_tiny_member(tmp_path / name)
    store = WeightsStore((tmp_path / "empty", tmp_path / "a", tmp_path / "b"))
    assert [member.name for member in store.choose(("*",))] == ["m0", "m1"]
    assert [member.name for member in WeightsStore((tmp_path / "a",)).choose(("m1",))] == ["m1"]


def test_weights_of_ones_own_are_never_passed_over_in_silence(tmp_path):
    write_tiny_member(tmp_path / "a/mine")
    write_tiny_member(tmp_path / "b/shipped")
    store = WeightsStore((tmp_path / "a", tmp_path / "b"))
    with pytest.raises(WeightsError, match=r"holds mine, and the recipe asks for shipped"):
        store.choose(("shipped",))


def test_a_folder_without_members_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no member there"):
        WeightsStore.default(tmp_path)
    with pytest.raises(WeightsError, match="no weights to average"):
        WeightsStore((tmp_path,)).choose(("*",))

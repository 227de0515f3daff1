import os

import pytest

from deeppsma.core.whole_files import whole_file


@pytest.mark.parametrize("lasting", [False, True])
def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path, lasting):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with whole_file(path, lasting) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_what_fails_leaves_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass  # nothing was written
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_content_reaches_the_disk_where_it_must_last(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    for lasting in (False, True):
        with whole_file(tmp_path / "a", lasting) as partial:
            partial.write_text("x")
    assert synced == [str(tmp_path / "a.partial")]

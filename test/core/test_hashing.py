import pytest

from deeppsma.core.hashing import file_sha256


def test_the_hash_of_nothing_is_the_published_one(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")

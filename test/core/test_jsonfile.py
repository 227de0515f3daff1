import pytest

from deeppsma.core.errors import InputError
from deeppsma.core.jsonfile import read_json, write_json


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json", "mend it") == {"x": [1, 2.5, None]}


def test_an_earlier_file_stays_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert read_json(path, "mend it") == {"x": 1}
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"x": 2})
    assert read_json(path, "mend it") == {"x": 1}


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json: not readable as JSON.*; mend it"):
        read_json(tmp_path / "a.json", "mend it")
    with pytest.raises(InputError, match=r"b\.json: not readable \(No such file"):
        read_json(tmp_path / "b.json", "mend it")

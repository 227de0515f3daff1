from dataclasses import dataclass

import pytest

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.settings import from_plain, read_json, read_toml, write_json


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


@dataclass(frozen=True)
class Thing:
    name: str
    sizes: tuple[tuple[int, ...], ...] = ()


def test_lists_become_tuples_all_the_way_down():
    assert from_plain(Thing, {"name": "a", "sizes": [[1, 2], [3]]}) == Thing("a", ((1, 2), (3,)))


@pytest.mark.parametrize(
    ("content", "match"),
    [({"name": "a", "colour": 1}, "unknown keys .'colour'"), ({}, "name"), ([1], "not a table"), (None, "not a table")],
)
def test_what_is_no_such_thing_is_refused(content, match):
    with pytest.raises(ValueError, match=match):
        from_plain(Thing, content)


def test_toml_without_bottom_is_one_line(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigurationError, match="not readable as TOML"):
        read_toml("recipes", str(tmp_path / "deep.toml"))


def test_a_key_that_is_there_twice_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(InputError, match="the key 'b' twice"):
        read_json(tmp_path / "a.json", "mend it")

import json

import pytest

from deeppsma.core.errors import InputError
from deeppsma.io.grand_challenge import find_sockets


def renamed(case, change):
    path = case / "inputs.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        change(entry)
    path.write_text(json.dumps(entries))


def test_the_starter_kit_calls_it_socket(platform_case):
    plain = find_sockets(platform_case)
    renamed(platform_case, lambda entry: entry.update(socket=entry.pop("interface")))
    assert find_sockets(platform_case) == plain


def test_both_keys_may_be_there(platform_case):
    plain = find_sockets(platform_case)
    renamed(platform_case, lambda entry: entry.update(socket=entry["interface"]))
    assert find_sockets(platform_case) == plain


def test_both_keys_must_agree(platform_case):
    renamed(platform_case, lambda entry: entry.update(socket={**entry["interface"], "slug": "fdg-pet"}))
    with pytest.raises(InputError, match="and socket differ"):
        find_sockets(platform_case)


@pytest.mark.parametrize("socket", [3, {}, {"slug": 3}, []])
def test_a_socket_without_a_slug_is_refused(platform_case, socket):
    renamed(platform_case, lambda entry: (entry.pop("interface"), entry.update(socket=socket)))
    with pytest.raises(InputError, match="without an interface and its slug"):
        find_sockets(platform_case)


def test_a_path_with_a_zero_byte_is_refused(platform_case):
    renamed(platform_case, lambda entry: entry["interface"].update(relative_path="a\0b"))
    with pytest.raises(InputError, match="points outside"):
        find_sockets(platform_case)

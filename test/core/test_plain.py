from dataclasses import dataclass

import pytest

from deeppsma.core.plain import from_plain


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

"""A node's settings: what makes no sense ends in one line before anything listens."""

from __future__ import annotations

import pytest
from builders.nodes import settings_text

from deeppsma.core.errors import ConfigurationError
from deeppsma.operation.node.settings import Destination, Keep, NodeSettings, Pair, Receive, Run, read_settings

TO = Destination("PACS", "pacs", 104)


def test_settings_are_read(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(settings_text(tmp_path / "storage", 104))
    settings = read_settings(path)
    assert settings.receive.allowed == ("PACS",)
    assert settings.pair.quiet_s == 0.25
    assert settings.send == (Destination("PACS", "localhost", 104),)
    assert settings.keep == Keep()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("quiet_s", "quite_s", "quite_s"),
        ("quiet_s = 0.25", 'quiet_s = "long"', r"pair\.quiet_s"),
        ('allowed = ["PACS"]', "allowed = []", "nobody"),
        ('ae_title = "PACS"', 'ae_title = "A_TITLE_THAT_IS_TOO_LONG"', "AE title"),
        ("[[send]]", "[[ send", "mend it"),
        ("backoff_s = 0.05", 'recipe = "none-such"', "recipe"),
        ("backoff_s = 0.05", 'site = "none-such.toml"', "none-such.toml"),
        ("port = 0", 'port = 0\ncertificate = "none.pem"\nkey = "none.pem"', "TLS"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(tmp_path, old, new, said):
    path = tmp_path / "node.toml"
    text = settings_text(tmp_path / "storage", 104)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(ConfigurationError, match=r"node\.toml: not readable"):
        read_settings(tmp_path / "node.toml")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Receive(("A\\B",)), "backslash"),
        (lambda: Receive(("A",), port=70000), "port"),
        (lambda: Receive(("A",), certificate="c.pem"), "TLS needs"),
        (lambda: Receive(("A",), client_ca="c.pem"), "TLS needs"),
        (lambda: Pair(quiet_s=-1), "quiet_s"),
        (lambda: Run(device="abacus"), "device"),
        (lambda: Run(attempts=0), "attempts"),
        (lambda: Run(time_limit_s=0), "time_limit_s"),
        (lambda: Run(results=()), "nothing to send"),
        (lambda: Keep(dead_days=-1), "dead_days"),
        (Destination, "either host"),
        (lambda: Destination("A", "h", 1, stow="https://h"), "either host"),
        (lambda: Destination("A", "h", 0), "port"),
        (lambda: Destination(stow="file:///etc"), "http"),
        (lambda: Destination("A", "h", 1, certificate="c"), "belong together"),
        (lambda: NodeSettings("", Receive(("A",)), (TO,)), "storage"),
        (lambda: NodeSettings("s", Receive(("A",)), ()), "nowhere"),
        (lambda: NodeSettings("s", Receive(("A",)), (TO, TO)), "one name"),
        (lambda: NodeSettings("s", Receive(("A",)), (TO,), Pair(wait_hours=999)), "swept"),
    ],
)
def test_every_guard_fires(make, said):
    with pytest.raises(ValueError, match=said):
        make()

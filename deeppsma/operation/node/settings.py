"""Settings of a node: one TOML file, checked whole before anything listens.

``[receive]`` who may send and where it listens, ``[pair]`` when a patient's studies are a job, ``[run]`` how it is
segmented, ``[[send]]`` where results go, ``[keep]`` how long what lies on the disk. See docs/node.md.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deeppsma.core.defaults import DEFAULT_RECIPE, DEVICES
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import from_plain
from deeppsma.operation.node.tls import client_context, server_context

_AE_TITLE_MAX = 16


@dataclass(frozen=True)
class Receive:
    """Who may send, and where the node listens.

    Parameters
    ----------
    allowed
        Calling AE titles that are taken; all others are refused.
    ae_title
        The node's own; an association that calls another one is refused.
    host, port
        Where it listens; port 0 is any free one.
    certificate, key
        PEM files; given together, DICOM is spoken by TLS alone.
    client_ca
        PEM file; a sender must then show a certificate that it vouches for.
    """

    allowed: tuple[str, ...]
    ae_title: str = "DEEPPSMA"
    host: str = "0.0.0.0"  # noqa: S104 - a node is there to be reached; who may send is named
    port: int = 11112
    certificate: str = ""
    key: str = ""
    client_ca: str = ""

    def __post_init__(self) -> None:
        _check_title(self.ae_title)
        for title in self.allowed:
            _check_title(title)
        if not self.allowed:
            raise ValueError("receive.allowed names nobody who may send")
        _check_port(self.port, lowest=0)
        if bool(self.certificate) != bool(self.key) or (self.client_ca and not self.certificate):
            raise ValueError("TLS needs receive.certificate and receive.key; client_ca comes on top")


@dataclass(frozen=True)
class Pair:
    """When studies are a job.

    Parameters
    ----------
    quiet_s
        A study is whole when nothing of it has come for so long, and as many PET slices are there as it announces.
    slices_wait_minutes
        Announced slices that are missing are waited for so long; then the study is taken as it is.
    wait_hours
        How long a study waits for the other tracer's.
    days_apart_max
        Between the two studies' dates.
    alone
        Whether one tracer is segmented by itself when the wait is over; if not, the study waits until it is swept.
    """

    quiet_s: float = 60.0
    slices_wait_minutes: float = 60.0
    wait_hours: float = 72.0
    days_apart_max: float = 60.0
    alone: bool = True

    def __post_init__(self) -> None:
        for name in ("quiet_s", "slices_wait_minutes", "wait_hours", "days_apart_max"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"pair.{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Run:
    """How a job is segmented: options of ``deeppsma segment``.

    Parameters
    ----------
    recipe, device
        As of the command.
    site
        Site file; "" for none.
    results
        What is written as DICOM: "seg", "rtstruct", "sr".
    options
        Further options, as ``["--fdg-threshold", "4"]``.
    attempts
        How often a job is begun, and how often a refused result is sent, before it is given up.
    backoff_s
        Before the second attempt; twice as long before each further one.
    time_limit_s
        A job that takes longer is ended; that is an attempt that failed.
    """

    recipe: str = DEFAULT_RECIPE
    device: str = "auto"
    site: str = ""
    results: tuple[str, ...] = ("seg", "rtstruct", "sr")
    options: tuple[str, ...] = ()
    attempts: int = 3
    backoff_s: float = 60.0
    time_limit_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ValueError(f"run.device is one of {', '.join(DEVICES)}, not {self.device!r}")
        if self.attempts < 1:
            raise ValueError(f"run.attempts must be 1 or more, not {self.attempts}")
        if not self.backoff_s >= 0 or not self.time_limit_s > 0:
            raise ValueError("run.backoff_s must be 0 or more, run.time_limit_s positive")
        if not self.results:
            raise ValueError("run.results names nothing to send back")


@dataclass(frozen=True)
class Keep:
    """How long what lies on the disk stays there.

    Parameters
    ----------
    waiting_days
        A study that became no job; and a result that nobody takes.
    results_days
        What was sent, to be sent again when its studies come again; images are gone as soon as the result has arrived.
    dead_days
        Jobs that were given up, with their images.
    free_gb_min
        With less free on the disk, images are refused ("out of resources").
    """

    waiting_days: float = 14.0
    results_days: float = 7.0
    dead_days: float = 14.0
    free_gb_min: float = 2.0

    def __post_init__(self) -> None:
        for name in ("waiting_days", "results_days", "dead_days", "free_gb_min"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"keep.{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Destination:
    """Where results go: by C-STORE, or by STOW-RS.

    Parameters
    ----------
    ae_title, host, port
        Of a DICOM node; or
    stow
        base URL of DICOMweb, as ``https://pacs/dicom-web``.
    confirm
        Whether it is asked afterwards that every object is there (C-FIND, QIDO-RS).
    tls
        C-STORE by TLS.
    ca
        PEM file that vouches for the peer; "" for the system's.
    certificate, key
        Shown to a peer that asks for one.
    authorization_file
        Holds the value of the Authorization header of DICOMweb.
    """

    ae_title: str = ""
    host: str = ""
    port: int = 0
    stow: str = ""
    confirm: bool = True
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    authorization_file: str = ""

    def __post_init__(self) -> None:
        if bool(self.stow) == bool(self.host):
            raise ValueError("a destination has either host, port and ae_title, or stow")
        if self.host:
            _check_title(self.ae_title)
            _check_port(self.port, lowest=1)
        elif urlsplit(self.stow).scheme not in ("http", "https") or not urlsplit(self.stow).hostname:
            raise ValueError(f"send.stow is an http or https address, not {self.stow!r}")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("send.certificate and send.key belong together")

    @property
    def name(self) -> str:
        """How logs and states call it."""
        return self.ae_title or (urlsplit(self.stow).hostname or "")

    @property
    def uses_tls(self) -> bool:
        """Whether the way there is encrypted."""
        return self.tls or self.stow.startswith("https")


@dataclass(frozen=True)
class NodeSettings:
    """All settings of a node.

    Parameters
    ----------
    storage
        Folder of what waits, runs, is sent and was given up.
    receive, send, pair, run, keep
        See there.
    """

    storage: str
    receive: Receive
    send: tuple[Destination, ...]
    pair: Pair = field(default_factory=Pair)
    run: Run = field(default_factory=Run)
    keep: Keep = field(default_factory=Keep)

    def __post_init__(self) -> None:
        if not self.storage:
            raise ValueError("storage names no folder")
        if not self.send:
            raise ValueError("there is no [[send]]: results would go nowhere")
        if len({to.name for to in self.send}) < len(self.send):
            raise ValueError("two [[send]] have one name")
        if self.pair.alone and self.pair.wait_hours > 24 * self.keep.waiting_days:
            raise ValueError("pair.wait_hours is longer than keep.waiting_days: studies would be swept before they run")


def read_settings(path: Path) -> NodeSettings:
    """Read a node's settings; files that they name (site file, certificates) are looked into, too.

    Parameters
    ----------
    path
        TOML. Relative names in it count from the working directory.

    Raises
    ------
    ConfigurationError
        If it cannot be read, holds a key that is unknown or a value that makes no sense.
    """
    from deeppsma.io.dicom.site import read_site
    from deeppsma.pipeline.recipe import load_recipe

    try:
        settings = from_plain(NodeSettings, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(path, f"not readable ({error.strerror})", "give the node's settings") from None
    except ValueError as error:
        raise ConfigurationError(path, str(error), "mend it; docs/node.md lists the settings") from None
    load_recipe(settings.run.recipe)
    read_site(Path(settings.run.site) if settings.run.site else None)
    try:
        server_context(settings.receive.certificate, settings.receive.key, settings.receive.client_ca)
        for to in settings.send:
            client_context(to.ca, to.certificate, to.key)
            if to.authorization_file:
                Path(to.authorization_file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(path, f"a TLS or authorization file cannot be used ({error})", "mend it") from None
    return settings


def _check_title(title: str) -> None:
    if not title.strip() or len(title) > _AE_TITLE_MAX or not title.isascii() or not title.isprintable():
        raise ValueError(f"an AE title has 1 to {_AE_TITLE_MAX} plain characters, not {title!r}")
    if "\\" in title:
        raise ValueError(f"an AE title has no backslash: {title!r}")


def _check_port(port: int, lowest: int) -> None:
    if not lowest <= port <= 65535:
        raise ValueError(f"a port is {lowest} to 65535, not {port}")

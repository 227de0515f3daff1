"""Both sides of TLS, from PEM files."""

from __future__ import annotations

import socket
import ssl
from typing import Any

#: How long a peer has for its part of a handshake; pynetdicom accepts nobody else meanwhile.
_HANDSHAKE_S = 10.0


class _ImpatientContext(ssl.SSLContext):
    """Lets a peer that does not greet go; whoever accepts connections would wait for him for ever."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **more: Any) -> ssl.SSLSocket:
        sock.settimeout(_HANDSHAKE_S)
        wrapped = super().wrap_socket(sock, *arguments, **more)
        wrapped.settimeout(None)
        return wrapped


def server_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext | None:
    """The server's side; None without a certificate: DICOM is spoken without TLS then.

    Parameters
    ----------
    certificate, key
        PEM files.
    client_ca
        PEM file; a peer must then show a certificate that it vouches for.

    Raises
    ------
    OSError
        If a file cannot be read, or is no certificate.
    """
    if not certificate:
        return None
    context = _ImpatientContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """The client's side: the peer must show a certificate for the name that it is called by.

    Parameters
    ----------
    ca
        PEM file that vouches for the peer; "" for the system's.
    certificate, key
        Shown to a peer that asks for one.

    Raises
    ------
    OSError
        If a file cannot be read, or is no certificate.
    """
    context = ssl.create_default_context(cafile=ca or None)
    if certificate:
        context.load_cert_chain(certificate, key)
    return context

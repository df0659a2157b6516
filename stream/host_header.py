"""Which names a server without a token answers to.

By DNS rebinding any web page can point a name of its own at a loopback server, and then asks it
from inside the visitor's browser as its own origin. The Host header still says that name.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches only this machine."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_ours(header: str, bound: str) -> bool:
    """Whether a request means this server by a name that nobody else controls.

    Args:
        header: the request's Host header, with or without a port.
        bound: the address or name that the server listens on.
    """
    name = _host_of(header)
    if name is None:
        return False
    if is_loopback(name) or name == bound.lower():
        return True
    address = _address(bound)
    listens_everywhere = not bound or (address is not None and address.is_unspecified)
    return listens_everywhere and (_address(name) is not None or name in _own_names())


def _own_names() -> tuple[str, str]:
    """As the local network knows this machine: its name, and mDNS's form of it."""
    name = socket.gethostname().lower()
    return name, f"{name.split('.')[0]}.local"


def _host_of(header: str) -> str | None:
    """Lower case, without port and brackets."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""Reads hosts and ports as people write them."""

import ipaddress
import re

from runtime.errors import ConfigurationError

KAFKA_PORT = 9092
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")


def bootstrap_servers(text: str) -> str:
    """Returns ``host:port,…`` in the one form that Kafka's clients agree on; the port may be
    missing.

    Raises:
        ConfigurationError: not that; the text names the variable.
    """
    servers = [server.strip() for server in text.split(",") if server.strip()]
    if text.strip() and not servers:
        raise _bad(text, "it names no server")
    return ",".join(_server(server) for server in servers)


def _server(text: str) -> str:
    scheme, found, _ = text.partition("://")
    if found:
        raise _bad(
            text, f"write host:port without {scheme}://; KAFKA_SECURITY_PROTOCOL says the protocol"
        )
    host, port = _split(text)
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise _bad(text, f"the port {port!r} is not a number from 1 to 65535")
    if not _is_host(host):
        raise _bad(text, "write host:port, and an IPv6 address in brackets: [::1]:9092")
    return f"{in_url(host)}:{int(port)}"


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host):
            return "", rest.removeprefix(":") or str(KAFKA_PORT)
        return host, rest.removeprefix(":") if rest else str(KAFKA_PORT)
    if text.count(":") > 1 and _is_ipv6(text):
        return text, str(KAFKA_PORT)
    host, colon, port = text.rpartition(":")
    return (host, port) if colon else (text, str(KAFKA_PORT))


def _is_host(text: str) -> bool:
    return _is_ipv6(text) or (len(text) <= 253 and _HOST.match(text) is not None)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def in_url(host: str) -> str:
    """Returns a host as it stands in a URL or before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def reachable(host: str) -> str:
    """Returns where a client on this machine finds a server that listens on ``host``."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def unmapped(host: str) -> str:
    """Returns the IPv4 address behind a mapped one (``::ffff:…``), other hosts as they are."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped) if mapped is not None else host


def is_loopback(host: str) -> bool:
    """Tells whether the host is an address of this machine's own, or its name for itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(unmapped(host)).is_loopback
    except ValueError:
        return False


def _bad(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"KAFKA_BOOTSTRAP_SERVERS: {text!r}: {why}")

"""Listens in whatever family the host has; says in one line why a host or port can't be used."""

import errno
import socket
from contextlib import ExitStack

from runtime.addresses import in_url
from runtime.errors import ConfigurationError

BACKLOG = 4096
ANY_IPV6 = "::"


def listening_sockets(
    host: str, port: int, host_variable: str, port_variable: str
) -> list[socket.socket]:
    """Returns sockets that listen already, one for each address of the host. ``::`` takes in IPv4
    too.

    Raises:
        ConfigurationError: it can't be; the text names the variable and says why.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, address in addresses_of(host, port, host_variable):
            listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                only_ipv6 = int(host != ANY_IPV6)
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
            try:
                listener.bind(address)
                listener.listen(BACKLOG)
            except OSError as error:
                raise _refusal(error, host, port, host_variable, port_variable) from error
            listener.setblocking(False)
            sockets.append(listener)
        opened.pop_all()
        return sockets


def addresses_of(
    host: str, port: int, host_variable: str
) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Returns the addresses of a host, each with its family.

    Raises:
        ConfigurationError: the host has no address.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(
            f"{host_variable}: {host!r} is neither an address nor a name that this machine knows"
        ) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def check_host(host: str, host_variable: str) -> None:
    """Checks that a server can listen on the host here.

    Raises:
        ConfigurationError: nothing can listen on the host here.
    """
    for listener in listening_sockets(host, 0, host_variable, host_variable):
        listener.close()


def _refusal(
    error: OSError, host: str, port: int, host_variable: str, port_variable: str
) -> ConfigurationError:
    place = f"{in_url(host)}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            why = f"{port_variable}: another process listens on {place}; choose another port"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            why = f"{host_variable}: {host} is not an address of this machine"
        case errno.EACCES | errno.EPERM:
            why = f"{port_variable}: this user may not listen on {place}"
        case _:
            why = f"{port_variable}: {place} can't be listened on: {error.strerror}"
    return ConfigurationError(why)

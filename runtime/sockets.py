"""Listens in whatever family the host has; says in one line why a host or port can't be used."""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from runtime.addresses import in_url
from runtime.errors import ConfigurationError

BACKLOG = 4096
ANY_IPV6 = "::"
Step = Callable[[socket.socket], None]


def listening_sockets(
    host: str, port: int, host_variable: str, port_variable: str, *, shared: bool = False
) -> list[socket.socket]:
    """Returns sockets that listen already, one for each address of the host. ``::`` takes in IPv4
    too. ``shared``: beside other processes of this user that say so too; the kernel shares the
    connections out among them (SO_REUSEPORT).

    Raises:
        ConfigurationError: it can't be; the text names the variable and says why.
    """

    def listen(bound: socket.socket) -> None:
        bound.listen(BACKLOG)
        bound.setblocking(False)

    before = _share if shared else _nothing
    with ExitStack() as opened:
        sockets = _bind(opened, host, port, host_variable, port_variable, before, listen)
        opened.pop_all()
        return sockets


@contextmanager
def reserved_port(host: str, port: int, host_variable: str, port_variable: str) -> Iterator[None]:
    """Holds a port on which others will listen as ``shared``. Nothing is accepted here, and no
    process listens on the port meanwhile that does not share it.

    Raises:
        ConfigurationError: see ``listening_sockets``; it is so too where another process listens
            that would share the port.
    """

    def keep(bound: socket.socket) -> None:
        # After the bind: before it, the port could be had beside a stranger who shares it.
        _share(bound)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    with ExitStack() as opened:
        _bind(opened, host, port, host_variable, port_variable, _nothing, keep)
        yield


def leave_to_others(listener: socket.socket) -> bool:
    """Drops what asks a socket that listens as ``shared`` for a new connection. The caller's kernel
    asks again a second later, and gets another process, once this socket is closed. Handshakes that
    have begun go on. Returns whether the socket is shared; one that is not stays as it is."""
    if not can_share_ports() or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return False
    steps = b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN)
    program = ctypes.create_string_buffer(steps, len(steps))
    filtering = struct.pack("@HP", len(_NO_SYN), ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
    return True


_SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the TCP header that holds the flags
    (0x54, 0, 0, 0x12),  # and of these SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone asks for a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # all else passes
)
"""A classic BPF program: code, jump if true, jump if false, operand."""


def can_share_ports() -> bool:
    """Tells whether the kernel shares the connections of a port out among processes. macOS has
    SO_REUSEPORT too, and gives all connections to one of them."""
    return sys.platform == "linux"


def _bind(
    opened: ExitStack,
    host: str,
    port: int,
    host_variable: str,
    port_variable: str,
    before: Step,
    after: Step,
) -> list[socket.socket]:
    """Binds a socket to each address of the host; ``before`` and ``after`` set each up."""
    sockets: list[socket.socket] = []
    for family, address in addresses_of(host, port, host_variable):
        one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != ANY_IPV6))
        try:
            before(one)
            one.bind(address)
            after(one)
        except OSError as error:
            raise _refusal(error, host, port, host_variable, port_variable) from error
        sockets.append(one)
    return sockets


def _share(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _nothing(one: socket.socket) -> None:
    pass


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

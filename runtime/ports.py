"""Finds ports to listen on."""

import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

from runtime.errors import Unavailable
from runtime.files import held_file
from runtime.sockets import addresses_of

TRIES = 10


class PortClaims:
    """Holds ports that no other process of ours takes meanwhile. Seconds pass between finding a
    port free and listening on it, in which another process could find it free too."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def take(self, wish: int, host: str = "127.0.0.1") -> int:
        """Finds a port as ``free_port`` does, and holds it.

        Raises:
            Unavailable: there is none.
        """
        if wish != 0 and is_free(wish, host) and self._claim(wish):
            return wish
        for _ in range(TRIES):
            found = free_port(0, host=host)
            if self._claim(found):
                return found
        raise Unavailable(f"no port is free on {host}")

    def release(self) -> None:
        self._held.close()

    def _claim(self, port: int) -> bool:
        file = Path(tempfile.gettempdir()) / f"lockstream-port-{port}"
        try:
            self._held.enter_context(held_file(file, 0.0, Unavailable(f"port {port} is claimed")))
        except (Unavailable, PermissionError):
            return False
        return True


def free_port(wish: int, *, host: str = "127.0.0.1", but_not: int = 0) -> int:
    """Returns ``wish`` if that is free on the host's address (and not 0), otherwise any other port.

    Raises:
        Unavailable: there is none.
    """
    if wish not in (0, but_not) and is_free(wish, host):
        return wish
    for _ in range(TRIES):
        family, address = addresses_of(host, 0, "the host")[0]
        with socket.socket(family) as probe:
            probe.bind(address)
            found: int = probe.getsockname()[1]
        if found != but_not:
            return found
    raise Unavailable(f"no port is free on {host}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tells whether a server could listen there now."""
    for family, address in addresses_of(host, port, "the host"):
        with socket.socket(family) as probe:
            # As servers do it: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                return False
    return True

"""Finding a port to listen on."""

import socket

from lockstream.runtime.errors import Unavailable


def free_port(wish: int, *, host: str = "127.0.0.1", but_not: int = 0) -> int:
    """``wish`` if it is free on the host's address (and not 0), otherwise any other.

    Raises:
        Unavailable: there is none.
    """
    if wish not in (0, but_not) and is_free(wish, host):
        return wish
    for _ in range(10):
        with socket.socket() as probe:
            probe.bind((host, 0))
            found: int = probe.getsockname()[1]
        if found != but_not:
            return found
    raise Unavailable(f"no port is free on {host}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do it: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True

"""Listening in the host's own family, and one line about what can't be listened on."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from runtime.addresses import in_url, is_loopback, reachable, unmapped
from runtime.errors import ConfigurationError
from runtime.ports import free_port, is_free
from runtime.sockets import check_host, listening_sockets
from tests.ipv6 import needs_ipv6

NAMES = ("LOCKSTREAM_API_HOST", "LOCKSTREAM_API_PORT")


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    sockets = listening_sockets(host, port, *NAMES)
    try:
        yield
    finally:
        for each in sockets:
            each.close()


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "reached"),
    [("::1", ("::1",)), ("::", ("::1", "127.0.0.1")), ("localhost", ("127.0.0.1",))],
)
def test_a_host_is_listened_on_in_its_own_family(host: str, reached: tuple[str, ...]) -> None:
    port = free_port(0, host=host)
    assert is_free(port, host)
    with listening(host, port):
        assert all(reaches(each, port) for each in reached)
        assert not is_free(port, host)


def test_a_taken_port_is_named_before_anything_is_served() -> None:
    port = free_port(0)
    named = pytest.raises(ConfigurationError, match=f"LOCKSTREAM_API_PORT: .*127.0.0.1:{port};")
    with listening("127.0.0.1", port), named:
        listening_sockets("127.0.0.1", port, *NAMES)


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "192.0.2.7", "2001:db8::7", "a..b", "x y"]
)
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_API_HOST: ") as refused:
        check_host(host, "LOCKSTREAM_API_HOST")
    assert "\n" not in str(refused.value)


def test_an_address_stands_in_a_url_as_clients_take_it() -> None:
    assert [in_url(h) for h in ("::1", "127.0.0.1", "[::1]")] == ["[::1]", "127.0.0.1", "[::1]"]
    assert [reachable(h) for h in ("::", "0.0.0.0", "::1")] == ["::1", "127.0.0.1", "::1"]


def test_an_ipv4_address_inside_an_ipv6_one_is_that_address() -> None:
    """A socket for both families writes its callers so."""
    assert [unmapped(h) for h in ("::ffff:10.0.0.7", "::1", "10.0.0.7", "name")] == [
        "10.0.0.7",
        "::1",
        "10.0.0.7",
        "name",
    ]
    here = ("localhost", "127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1")
    elsewhere = ("10.0.0.7", "::ffff:10.0.0.7", "::", "2001:db8::1", "localhost.example", "")
    assert all(is_loopback(host) for host in here)
    assert not any(is_loopback(host) for host in elsewhere)

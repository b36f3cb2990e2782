"""Listening in the host's own family, and one line about what can't be listened on."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from runtime.addresses import in_url, is_loopback, reachable, unmapped
from runtime.errors import ConfigurationError
from runtime.ports import free_port, is_free
from runtime.sockets import check_host, leave_to_others, listening_sockets, reserved_port
from tests.ipv6 import needs_ipv6

NAMES = ("LOCKSTREAM_API_HOST", "LOCKSTREAM_API_PORT")


@contextlib.contextmanager
def listening(host: str, port: int, *, shared: bool = False) -> Iterator[list[socket.socket]]:
    sockets = listening_sockets(host, port, *NAMES, shared=shared)
    try:
        yield sockets
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


def test_only_those_who_say_so_share_a_port() -> None:
    port = free_port(0)
    with reserved_port("127.0.0.1", port, *NAMES):
        with listening("127.0.0.1", port, shared=True), listening("127.0.0.1", port, shared=True):
            assert reaches("127.0.0.1", port)
            with pytest.raises(ConfigurationError, match="LOCKSTREAM_API_PORT: another process"):
                listening_sockets("127.0.0.1", port, *NAMES)
        # The port stays ours while nobody listens: all workers may be starting again.
        assert not reaches("127.0.0.1", port)
        with pytest.raises(ConfigurationError, match="LOCKSTREAM_API_PORT: another process"):
            listening_sockets("127.0.0.1", port, *NAMES)
    with listening("127.0.0.1", port):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_on_which_another_listens_is_not_reserved(shared: bool) -> None:
    port = free_port(0)
    named = pytest.raises(ConfigurationError, match=f"LOCKSTREAM_API_PORT: .*127.0.0.1:{port};")
    with (
        listening("127.0.0.1", port, shared=shared),
        named,
        reserved_port("127.0.0.1", port, *NAMES),
    ):
        pass


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::", "127.0.0.1"])
def test_a_socket_that_leaves_connections_to_others_gets_no_more(host: str) -> None:
    port = free_port(0, host=host)
    with listening(host, port, shared=True) as stopping:
        assert all(leave_to_others(each) for each in stopping)
        with socket.socket(stopping[0].family) as caller:
            caller.settimeout(0.2)
            with pytest.raises(TimeoutError):
                caller.connect((reachable(host), port))
    with listening(host, port) as alone:
        assert not any(leave_to_others(each) for each in alone)
        assert reaches(reachable(host), port)


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

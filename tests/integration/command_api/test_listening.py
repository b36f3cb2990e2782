"""What the API's listener and admission do with hosts, proxies, too many at once, and TLS."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from command_api.listening import check_listening, listen
from runtime.errors import ConfigurationError
from runtime.settings import Settings
from tests.certificates import make_certificate
from tests.http_notes import complaints, exchange_of
from tests.integration.command_api.listener import listening
from tests.ipv6 import needs_ipv6


def get(path: str = "/unread", *headers: str, host: str = "a") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("trusted", "host", "status"),
    [
        ("", "anything", 200),
        ("api.example.org", "api.example.org", 200),
        ("api.example.org", "API.example.org:8443", 200),
        ("api.example.org", "example.org", 400),
        ("api.example.org", "api.example.org.evil.test", 400),
        ("other, *.example.org", "a.b.example.org", 200),
        ("*.example.org", "example.org", 400),
        ("*.example.org", "evilexample.org", 400),
        ("[::1]", "[::1]:80", 200),
    ],
)
async def test_only_trusted_hosts_are_served(trusted: str, host: str, status: int) -> None:
    async with listening(Settings(trusted_hosts=trusted)) as listener:
        answer = await listener.ask(get(host=host))
        assert answer.status == status
        if status == 400:
            assert answer.json()["details"] == [{"field": "Host", "message": "is not served here"}]
        assert len(listener.seen) == (status == 200)
        assert (await listener.ask(get("/livez", host="10.0.0.7"))).status == 200


async def test_whoever_names_no_host_is_not_served_where_some_are_trusted() -> None:
    nameless = b"GET /unread HTTP/1.0\r\n\r\n"
    for trusted, status in (("api.example.org", 400), ("", 200)):
        async with listening(Settings(trusted_hosts=trusted)) as listener:
            assert (await listener.ask(nameless)).status == status


@pytest.mark.parametrize(
    ("trusted", "client", "scheme"),
    [
        ("", "127.0.0.1", "http"),
        ("10.0.0.0/8", "127.0.0.1", "http"),
        ("127.0.0.1", "203.0.113.9", "https"),
        ("127.0.0.0/8, 10.0.0.1", "203.0.113.9", "https"),
    ],
)
async def test_only_trusted_proxies_may_say_who_asks(
    trusted: str, client: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own variable has no say
    async with listening(Settings(trusted_proxies=trusted)) as listener:
        answer = await listener.ask(
            get("/unread", "X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Forwarded-Proto: https")
        )
        assert answer.json() == {"client": client, "scheme": scheme}


@needs_ipv6
@pytest.mark.parametrize(
    ("trusted", "client"), [("", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.9"), ("::1", "127.0.0.1")]
)
async def test_who_comes_by_ipv4_to_a_socket_for_both_is_known_by_it(
    trusted: str, client: str
) -> None:
    settings = Settings(trusted_proxies=trusted, api_host="::")
    async with listening(settings) as listener:
        answer = await listener.ask(get("/unread", "X-Forwarded-For: 203.0.113.9"))
        assert answer.json()["client"] == client


@pytest.mark.parametrize("proxies", ["*", "proxy.example.org", "10.0.0.1/8"])
async def test_a_proxy_is_an_address_or_a_network(proxies: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^LOCKSTREAM_TRUSTED_PROXIES: "):
        await check_listening(Settings(trusted_proxies=proxies))


async def test_too_many_at_once_get_503_and_probes_still_get_through() -> None:
    async with listening(Settings(max_in_flight=1)) as listener:
        first = await listener.connect()
        await first.send(get("/held"))
        async with asyncio.timeout(10):
            while not listener.in_flight.count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answer = await listener.ask(get())
        assert (answer.status, answer.json()["code"]) == (503, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert (await listener.ask(get("/livez"))).status == 200
        assert (await listener.ask(get("/readyz"))).status == 200
        listener.held.set()
        assert (await first.answer()).status == 200
        assert (await listener.ask(get())).status == 200


async def test_a_request_that_ends_in_an_error_makes_room_too() -> None:
    async with listening(Settings(max_in_flight=1)) as listener:
        for _ in range(2):
            assert (await listener.ask(get("/broken"))).status == 500
        assert (await listener.ask(get())).status == 200
        assert listener.in_flight.count == 0


POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(("size", "status"), [(16_384, 200), (16_385, 413)])
async def test_a_body_has_16_kib_at_most_announced_or_not(size: int, status: int) -> None:
    body = b"x" * size
    parts = (body[:9_000], body[9_000:])
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    async with listening(Settings()) as listener:
        for request in (
            POST + b"Content-Length: %d\r\n\r\n" % size + body,
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        ):
            answer = await listener.ask(request)
            assert (answer.status, len(answer.body) == size) == (status, status == 200)
        assert len(listener.seen) == (2 if status == 200 else 0)


async def test_a_body_that_is_announced_too_large_is_not_waited_for() -> None:
    async with listening(Settings(receipt_timeout=1.0)) as listener:
        answer = await listener.ask(POST + b"Content-Length: 16385\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert listener.seen == []


async def test_every_answer_may_be_neither_kept_nor_guessed_at() -> None:
    async with listening(Settings()) as listener:
        for path in ("/unread", "/nowhere", "/body", "/livez", "/readyz"):
            headers = (await listener.ask(get(path))).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert headers["x-request-id"]
            assert "server" not in headers


@pytest.mark.parametrize("path", ["/unread", "/nowhere"])
async def test_only_a_harmless_request_id_is_given_back(path: str) -> None:
    async with listening(Settings()) as listener:
        for name, ours in {
            "a.B_c-9": False,
            "x" * 128: False,
            "x" * 129: True,
            "": True,
            "<script>alert(1)</script>": True,
            'a"b': True,
            "a,b": True,
            "a b": True,
            "%0d%0a": True,
        }.items():
            given = (await listener.ask(get(path, f"X-Request-Id: {name}"))).headers["x-request-id"]
            assert (given != name) == ours
            assert given


async def test_a_fault_of_ours_leaks_nothing_and_is_good_http() -> None:
    async with listening(Settings()) as listener:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{listener.settings.api_port}/broken")
        assert answer.status_code == answer.json()["code"] == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert complaints(exchange_of(answer)) == []


def test_tls_is_served_with_the_configured_certificate(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=cert)
    old = ssl.create_default_context(cafile=cert)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("DEFAULT@SECLEVEL=0")

    async def ask() -> None:
        settings = Settings(tls_cert=cert, tls_key=key, receipt_timeout=0.4)
        async with listening(settings) as listener:
            answer = await listener.ask(get(), tls=trusting)
            assert answer.json()["scheme"] == "https"
            assert (await listener.ask(get(), tls=old)).status == 200
            late = await listener.ask(b"GET / HTTP/1.1\r\n", tls=trusting)
            assert late.status == 408

    asyncio.run(ask())


def test_bad_certificates_are_named_in_one_line(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    _, other_key = make_certificate(tmp_path, "other")
    locked_cert, locked_key = make_certificate(tmp_path, "locked", b"secret")
    missing, folder, text = str(tmp_path / "none.pem"), str(tmp_path), str(tmp_path / "text")
    Path(text).write_text("nonsense")
    for chosen, named in (
        ((cert, ""), "LOCKSTREAM_TLS_KEY (--tls-key) is not set"),
        (("", key), "LOCKSTREAM_TLS_CERT (--tls-cert) is not set"),
        ((missing, key), f"LOCKSTREAM_TLS_CERT (--tls-cert): {missing}: No such file"),
        ((cert, missing), f"LOCKSTREAM_TLS_KEY (--tls-key): {missing}: No such file"),
        ((folder, key), f"LOCKSTREAM_TLS_CERT (--tls-cert): {folder}: Is a directory"),
        ((text, key), f"{text} and {key} are not a certificate and its"),
        ((cert, other_key), f"{cert} and {other_key} are not a certificate and its"),
        ((locked_cert, locked_key), "unencrypted private key"),
    ):
        settings = Settings(tls_cert=chosen[0], tls_key=chosen[1])
        with pytest.raises(ConfigurationError) as refused:
            asyncio.run(check_listening(settings))
        assert named in str(refused.value)
        assert "\n" not in str(refused.value)


async def test_two_apis_do_not_share_a_port_unnoticed() -> None:
    async with listening(Settings()) as first:
        port = first.settings.api_port
        with pytest.raises(ConfigurationError, match=f"another process listens on .*:{port}"):
            await listen(first.served, first.settings, asyncio.Event())
        assert (await first.ask(get())).status == 200

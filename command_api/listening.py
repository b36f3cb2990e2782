"""Listens with uvicorn: connections of our own, TLS, and the proxies that are trusted."""

import ipaddress
import logging
import ssl
from asyncio import Event, to_thread

import uvicorn
from starlette.types import ASGIApp

from command_api.connection import connection_class
from command_api.draining import DrainingServer
from runtime.addresses import in_url
from runtime.errors import ConfigurationError
from runtime.settings import Settings
from runtime.sockets import check_host, listening_sockets

log = logging.getLogger(__name__)

HOST_VARIABLE, PORT_VARIABLE = "LOCKSTREAM_API_HOST", "LOCKSTREAM_API_PORT"
DRAIN_S = 10
KEEP_ALIVE_S = 75
BACKLOG = 4096


async def listen(app: ASGIApp, settings: Settings, stop: Event) -> None:
    """Serves until ``stop`` is set, then drains.

    Raises:
        ConfigurationError: the port can't be listened on, or TLS or the proxies are set wrongly.
    """
    config = uvicorn.Config(
        app,
        http=connection_class(settings.receipt_timeout),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=trusted_proxies(settings),
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
    )
    context = await to_thread(tls_context, settings)
    if context is not None:
        config.ssl_context_factory = lambda config, default: context
    scheme = "http" if context is None else "https"
    sockets = await to_thread(
        listening_sockets,
        settings.api_host,
        settings.api_port,
        HOST_VARIABLE,
        PORT_VARIABLE,
        # Never alone: a second API on the port would take half of the requests, unnoticed.
        shared=settings.api_workers > 1,
    )
    log.info("api listens on %s://%s:%s", scheme, in_url(settings.api_host), settings.api_port)
    await DrainingServer(config).serve_until(stop, sockets)


async def check_listening(settings: Settings) -> None:
    """Checks before anything is opened what ``listen`` needs.

    Raises:
        ConfigurationError: ``listen`` would raise it later.
    """
    trusted_proxies(settings)
    await to_thread(tls_context, settings)
    await to_thread(check_host, settings.api_host, HOST_VARIABLE)
    await to_thread(check_host, settings.health_host, "LOCKSTREAM_HEALTH_HOST")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Reads the configured certificate and key for TLS 1.2 or later; None if there are none.

    Raises:
        ConfigurationError: one of the two is missing, can't be read, or does not fit the other.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if not cert and not key:
        return None
    for variable, option, file in (
        ("LOCKSTREAM_TLS_CERT", "--tls-cert", cert),
        ("LOCKSTREAM_TLS_KEY", "--tls-key", key),
    ):
        if not file:
            raise ConfigurationError(f"{variable} ({option}) is not set: TLS needs both files")
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise ConfigurationError(f"{variable} ({option}): {file}: {error.strerror}") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With a password given, OpenSSL does not ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"LOCKSTREAM_TLS_CERT, LOCKSTREAM_TLS_KEY: {cert} and {key} are not a certificate and "
            "its unencrypted private key in PEM"
        ) from error
    return context


def trusted_proxies(settings: Settings) -> list[str]:
    """Reads whose ``X-Forwarded-*`` headers count.

    Raises:
        ConfigurationError: not an address or a network; `*` is neither.
    """
    proxies = names(settings.trusted_proxies)
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise ConfigurationError(f"LOCKSTREAM_TRUSTED_PROXIES: {error}") from error
    return proxies


def names(commas: str) -> list[str]:
    """Splits a comma-separated list."""
    return [name.strip() for name in commas.split(",") if name.strip()]

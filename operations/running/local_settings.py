"""Completes the settings of ``lockstream up``, for a system on this machine."""

import os
import socket
import zlib
from pathlib import Path

import msgspec

from operations.organizations.signing import ensure_signing_key, local_issuer
from operations.shared.console import say
from read_model.database import read_model_url
from runtime.files import write_atomically
from runtime.issuers import read_issuers, write_issuers
from runtime.ports import PortClaims
from runtime.settings import Settings, variable_of

_OF_SERVICES = (
    "kafka_bootstrap_servers",
    "partner_bootstrap_servers",
    "partner_ca",
    "read_model_url",
    "state_dir",
    "api_port",
    "api_workers",
    "projector_health_port",
    "fanout_health_port",
    "jwt_issuers",
    "instance_id",
    "tls_cert",
    "tls_key",
)
"""The settings that the services get from ``up``; all others they read as it does."""


def complete_settings(settings: Settings, claims: PortClaims, *, demo: bool) -> Settings:
    """Chooses free ports, the local signing key and a name in the consumer groups."""
    ensure_signing_key(settings.state_dir)
    names = f"{socket.gethostname()}:{settings.state_dir}".encode()
    ports = _claim_ports(settings, claims)
    return msgspec.structs.replace(
        settings,
        read_model_url=_shown_url(settings),
        api_port=ports.api,
        projector_health_port=ports.projector,
        fanout_health_port=ports.fanout,
        jwt_issuers=_with_local_issuer(settings, demo),
        instance_id=settings.instance_id or f"up-{zlib.crc32(names):08x}",
    )


def environment_of_services(settings: Settings) -> dict[str, str]:
    """Returns the environment of a service: ours, with the settings that ``up`` has chosen."""
    chosen = {variable_of(name): str(getattr(settings, name)) for name in _OF_SERVICES}
    return {**os.environ, **chosen}


class _Ports(msgspec.Struct, frozen=True):
    api: int
    projector: int
    fanout: int


def _claim_ports(settings: Settings, claims: PortClaims) -> _Ports:
    file = settings.state_dir / "ports.json"
    wished = _wished_ports(settings, file)
    ports = _Ports(
        api=claims.take(wished.api, settings.api_host),
        projector=claims.take(wished.projector, settings.health_host),
        fanout=claims.take(wished.fanout, settings.health_host),
    )
    if ports.api != settings.api_port:
        say(f"port {settings.api_port} is not used: the API listens on {ports.api}")
    write_atomically(file, msgspec.json.encode(ports), mode=0o644)
    return ports


def _wished_ports(settings: Settings, file: Path) -> _Ports:
    """Returns the ports that are configured, else those of the last run."""
    wished = _Ports(settings.api_port, settings.projector_health_port, settings.fanout_health_port)
    try:
        last = msgspec.json.decode(file.read_bytes(), type=_Ports)
    except (OSError, msgspec.DecodeError):
        return wished
    return _Ports(wished.api, wished.projector or last.projector, wished.fanout or last.fanout)


def _with_local_issuer(settings: Settings, demo: bool) -> str:
    """Adds the local key where no issuer is configured or the demo's token needs it."""
    if settings.jwt_issuers and not demo:
        return settings.jwt_issuers
    local = local_issuer(settings.state_dir)
    configured = read_issuers(settings.jwt_issuers) if settings.jwt_issuers else ()
    return write_issuers([*(e for e in configured if e.issuer != local.issuer), local])


def _shown_url(settings: Settings) -> str:
    url = read_model_url(settings)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)

"""``lockstream up``: everything on this machine, supervised, with demo data if wanted."""

import asyncio
import os
import signal
import socket
import sys
import zlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from command_api.listening import check_listening
from eventlog.local.local_broker import LocalBroker
from operations.organizations.signing import ensure_signing_key, local_issuer
from operations.running.demo import DEMO_LOCK, DemoData, set_up_demo
from operations.running.env_files import env_lines
from operations.running.probes import ask, shows
from operations.running.services import TlsCert, TlsKey, with_tls
from operations.running.supervisor import Command, Supervised
from operations.shared.configuration import DEMO_ENV, DOTENV, tell_of_unknown_variables
from operations.shared.console import say, show
from operations.shared.installation import run_verb
from read_model.database import read_model_url
from runtime.addresses import in_url, reachable
from runtime.errors import ConfigurationError, Unavailable
from runtime.files import held_file, keep_private, make_private, write_atomically
from runtime.issuers import read_issuers, write_issuers
from runtime.ports import PortClaims
from runtime.settings import Settings, read_settings, variable_of
from runtime.waiting import until_stopped

ROLES = ("api", "projector", "fanout")
READY_S = 60.0
ADMITTED_S = 15.0
BROKER_WATCH_S = 0.25
BROKER_RETRY_S = 2.0


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="With an organisation, a lock, a key and a partner.")
    ] = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Run everything on this machine: a broker if none is configured, and the three services.

    Ctrl-C stops all of it; all state stays in the state folder (.lockstream)."""
    run_verb(lambda: _up(demo, tls_cert, tls_key))


async def _up(demo: bool, tls_cert: str | None, tls_key: str | None) -> None:
    settings = with_tls(read_settings(os.environ, DOTENV), tls_cert, tls_key)
    tell_of_unknown_variables()
    read_model_url(settings)
    await check_listening(settings)
    # Before anything is started: these stand in demo.env.
    env_lines(
        {
            variable_of("state_dir"): settings.state_dir.absolute(),
            "READ_MODEL_URL": settings.read_model_url,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        }
    )
    keep_private()
    try:
        make_private(settings.state_dir)
    except OSError as error:
        raise ConfigurationError(
            f"LOCKSTREAM_STATE_DIR: {settings.state_dir}: {error.strerror}"
        ) from error
    taken = ConfigurationError(
        f"another `lockstream up` runs on {settings.state_dir.absolute()}; stop it first"
    )
    with held_file(settings.state_dir / "up.lock", 0.0, taken):
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await _System(settings).run(demo, stop)


class _System:
    """The broker, the services and the demo data of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = msgspec.structs.replace(settings, state_dir=settings.state_dir.absolute())
        self._broker: LocalBroker | None = None
        self._services: dict[str, Supervised] = {}
        self._claims = PortClaims()
        self._demo: DemoData | None = None

    async def run(self, demo: bool, stop: asyncio.Event) -> None:
        """Runs until ``stop`` is set; then everything has ended.

        Raises:
            Unavailable: the broker or a service does not start.
        """
        await self._start_broker()
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    self._complete_settings(demo)
                    for role in ROLES:
                        self._services[role] = Supervised(self._command(role), self._write_env)
                        tasks.create_task(self._services[role].run())
                    await until_stopped(stop, self._announce(demo))
                    await until_stopped(stop, self._keep_broker())
                finally:
                    say("stopping")
                    stopping = [service.stop() for service in self._services.values()]
                    await asyncio.gather(*stopping)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            if self._broker is not None:
                await asyncio.to_thread(self._broker.stop)
            say("stopped")

    # -- the broker ----------------------------------------------------------------------------

    async def _start_broker(self) -> None:
        if self._settings.kafka_bootstrap_servers:
            say(f"using Kafka at {self._settings.kafka_bootstrap_servers}")
            return
        folder = self._settings.state_dir / "broker"
        self._broker = await asyncio.to_thread(LocalBroker.start, folder, progress=say)
        self._settings = msgspec.structs.replace(
            self._settings, kafka_bootstrap_servers=self._broker.bootstrap_servers
        )

    async def _keep_broker(self) -> None:
        """Starts a broker of ours again when it dies; for ever."""
        folder = self._settings.state_dir / "broker"
        while True:
            await asyncio.sleep(BROKER_WATCH_S)
            if self._broker is None or self._broker.poll() is None:
                continue
            say(f"the broker ended (exit code {self._broker.poll()}), starting it again")
            try:
                self._broker = await asyncio.to_thread(LocalBroker.start, folder, progress=say)
            except Unavailable as error:
                say(f"lockstream: {error}; trying again")
                await asyncio.sleep(BROKER_RETRY_S)
            else:
                self._write_env()

    # -- the services --------------------------------------------------------------------------

    def _complete_settings(self, demo: bool) -> None:
        """What was not configured: free ports, the local signing key, a name in the groups."""
        settings = self._settings
        ensure_signing_key(settings.state_dir)
        names = f"{socket.gethostname()}:{settings.state_dir}".encode()
        wished = _read_ports(settings.state_dir, settings)
        ports = _Ports(
            api=self._claims.take(wished.api, settings.api_host),
            projector=self._claims.take(wished.projector, settings.health_host),
            fanout=self._claims.take(wished.fanout, settings.health_host),
        )
        if ports.api != settings.api_port:
            say(f"port {settings.api_port} is not used: the API listens on {ports.api}")
        write_atomically(settings.state_dir / "ports.json", msgspec.json.encode(ports), mode=0o644)
        self._settings = msgspec.structs.replace(
            settings,
            read_model_url=_shown_url(settings),
            api_port=ports.api,
            projector_health_port=ports.projector,
            fanout_health_port=ports.fanout,
            jwt_issuers=_with_local_issuer(settings, demo),
            instance_id=settings.instance_id or f"up-{zlib.crc32(names):08x}",
        )

    def _command(self, role: str) -> Command:
        logs = self._settings.state_dir / "logs"
        logs.mkdir(exist_ok=True)
        chosen = {
            name: str(getattr(self._settings, name))
            for name in (
                "kafka_bootstrap_servers",
                "read_model_url",
                "state_dir",
                "api_port",
                "projector_health_port",
                "fanout_health_port",
                "jwt_issuers",
                "instance_id",
                "tls_cert",
                "tls_key",
            )
        }
        return Command(
            name=role,
            # -P: a folder of that name where the user stands is none of ours.
            arguments=(sys.executable, "-P", "-m", "operations", role, "--supervised"),
            environment={**os.environ, **{variable_of(k): v for k, v in chosen.items()}},
            log=logs / f"{role}.log",
        )

    async def _wait_until_ready(self) -> None:
        """
        Raises:
            Unavailable: a role is not ready in time; the text says why.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        for role, page in self._health_pages.items():
            while not (found := await asyncio.to_thread(ask, page)).ready:
                if loop.time() > deadline:
                    reasons = "; ".join(f"{name}: {why}" for name, why in found.obstacles.items())
                    raise Unavailable(
                        f"{role} is not ready after {READY_S:.0f} s: {reasons}; "
                        f"see {self._settings.state_dir}/logs/{role}.log"
                    )
                await asyncio.sleep(0.05)

    async def _wait_until_admitted(self, demo: DemoData) -> None:
        """The API learns of a new key and a new lock from the log, a moment after they are there. A
        read model that is being filled again may take long: that holds nothing up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ADMITTED_S
        page = f"{self._base_url}/locks/{DEMO_LOCK}"
        while not await asyncio.to_thread(shows, page, demo.headers):
            if loop.time() > deadline:
                say(
                    f"the API does not show lock {DEMO_LOCK} yet; `lockstream status` says why, "
                    f"or {self._settings.state_dir}/logs/api.log"
                )
                return
            await asyncio.sleep(0.05)

    @property
    def _health_pages(self) -> dict[str, str]:
        settings = self._settings
        health = in_url(reachable(settings.health_host))
        return {
            "api": self._base_url,
            "projector": f"http://{health}:{settings.projector_health_port}",
            "fanout": f"http://{health}:{settings.fanout_health_port}",
        }

    @property
    def _base_url(self) -> str:
        scheme = "https" if self._settings.tls_cert else "http"
        return f"{scheme}://{in_url(reachable(self._settings.api_host))}:{self._settings.api_port}"

    # -- the demo ------------------------------------------------------------------------------

    async def _announce(self, demo: bool) -> None:
        await self._wait_until_ready()
        if demo:
            self._demo = await set_up_demo(self._settings)
            await self._wait_until_admitted(self._demo)
        self._write_env()
        base_url = self._base_url
        say(f"Lockstream is ready: {base_url} (docs: {base_url}/docs); Ctrl-C stops it")
        if self._demo is not None:
            show(self._demo.curl_line(base_url, self._settings.tls_cert))

    def _write_env(self) -> None:
        """``demo.env``: all that a client of this installation needs. Whole or not at all."""
        settings, demo = self._settings, self._demo
        values: dict[str, object] = {
            "BASE_URL": self._base_url,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "READ_MODEL_URL": settings.read_model_url,
            variable_of("health_pages"): ",".join(self._health_pages.values()),
        }
        if demo is not None:
            values |= demo.variables(settings)
        for role, service in self._services.items():
            values[f"{role.upper()}_PID"] = service.pid or ""
        if self._broker is not None:
            values["BROKER_PID"] = self._broker.pid
        lines = env_lines(values)
        write_atomically(settings.state_dir / DEMO_ENV, lines.encode(), mode=0o600)


def _with_local_issuer(settings: Settings, demo: bool) -> str:
    """What was configured, and the local key where nothing was or the demo's token needs it."""
    if settings.jwt_issuers and not demo:
        return settings.jwt_issuers
    local = local_issuer(settings.state_dir)
    configured = read_issuers(settings.jwt_issuers) if settings.jwt_issuers else ()
    return write_issuers([*(e for e in configured if e.issuer != local.issuer), local])


class _Ports(msgspec.Struct, frozen=True):
    api: int
    projector: int
    fanout: int


def _read_ports(state_dir: Path, settings: Settings) -> _Ports:
    """The ports of the last time, where none was configured."""
    wished = _Ports(settings.api_port, settings.projector_health_port, settings.fanout_health_port)
    try:
        last = msgspec.json.decode((state_dir / "ports.json").read_bytes(), type=_Ports)
    except (OSError, msgspec.DecodeError):
        return wished
    return _Ports(wished.api, wished.projector or last.projector, wished.fanout or last.fanout)


def _shown_url(settings: Settings) -> str:
    url = read_model_url(settings)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)

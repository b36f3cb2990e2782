"""Runs the system of ``lockstream up``: the three services, and a broker if none is configured."""

import asyncio
import sys

import msgspec

from eventlog.local.local_broker import LocalBroker
from eventlog.local.partner_listener import PartnerListener
from operations.partners.listener_tls import local_partner_listener
from operations.running.demo import DEMO_LOCK, DemoData, set_up_demo
from operations.running.env_files import env_lines
from operations.running.local_pages import (
    base_url,
    health_pages,
    wait_until_ready,
    wait_until_shown,
)
from operations.running.local_settings import complete_settings, environment_of_services
from operations.running.supervisor import Command, Supervised
from operations.shared.configuration import DEMO_ENV
from operations.shared.console import say, show
from runtime.errors import Unavailable
from runtime.files import write_atomically
from runtime.ports import PortClaims
from runtime.settings import Settings, variable_of
from runtime.waiting import until_stopped

ROLES = ("api", "projector", "fanout")
BROKER_WATCH_S = 0.25
BROKER_RETRY_S = 2.0


class LocalSystem:
    """Runs the broker, the services and the demo data of one state folder."""

    def __init__(self, settings: Settings, *, demo: bool) -> None:
        self._settings = msgspec.structs.replace(settings, state_dir=settings.state_dir.absolute())
        self._with_demo = demo
        self._broker: LocalBroker | None = None
        self._partners: PartnerListener | None = None
        self._services: dict[str, Supervised] = {}
        self._claims = PortClaims()
        self._demo: DemoData | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until ``stop`` is set; when this returns, everything has ended.

        Raises:
            Unavailable: the broker or a service does not start.
        """
        await self._start_broker()
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    self._settings = complete_settings(
                        self._settings, self._claims, demo=self._with_demo
                    )
                    for role in ROLES:
                        self._services[role] = Supervised(self._command(role), self._write_env)
                        tasks.create_task(self._services[role].run())
                    await until_stopped(stop, self._announce())
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

    async def _start_broker(self) -> None:
        if self._settings.kafka_bootstrap_servers:
            say(f"using Kafka at {self._settings.kafka_bootstrap_servers}")
            return
        self._partners, ca = await asyncio.to_thread(local_partner_listener, self._settings)
        self._broker = broker = await asyncio.to_thread(self._run_broker)
        self._settings = msgspec.structs.replace(
            self._settings,
            kafka_bootstrap_servers=broker.bootstrap_servers,
            partner_bootstrap_servers=broker.partner_servers,
            partner_ca=ca,
        )

    def _run_broker(self) -> LocalBroker:
        folder = self._settings.state_dir / "broker"
        return LocalBroker.start(folder, progress=say, partners=self._partners)

    async def _keep_broker(self) -> None:
        """Starts our own broker again whenever it dies; never returns."""
        while True:
            await asyncio.sleep(BROKER_WATCH_S)
            if self._broker is None or self._broker.poll() is None:
                continue
            say(f"the broker ended (exit code {self._broker.poll()}), starting it again")
            try:
                self._broker = await asyncio.to_thread(self._run_broker)
            except Unavailable as error:
                say(f"lockstream: {error}; trying again")
                await asyncio.sleep(BROKER_RETRY_S)
            else:
                self._write_env()

    def _command(self, role: str) -> Command:
        logs = self._settings.state_dir / "logs"
        logs.mkdir(exist_ok=True)
        return Command(
            name=role,
            # -P: a folder of that name where the user stands is none of ours.
            arguments=(sys.executable, "-P", "-m", "operations", role, "--supervised"),
            environment=environment_of_services(self._settings),
            log=logs / f"{role}.log",
        )

    async def _announce(self) -> None:
        await wait_until_ready(self._settings)
        if self._with_demo:
            self._demo = await set_up_demo(self._settings)
            await wait_until_shown(self._settings, DEMO_LOCK, self._demo.headers)
        self._write_env()
        url = base_url(self._settings)
        say(f"Lockstream is ready: {url} (docs: {url}/docs); Ctrl-C stops it")
        if self._demo is not None:
            show(self._demo.curl_line(url, self._settings.tls_cert))

    def _write_env(self) -> None:
        """Writes ``demo.env``, whole or not at all: what a client of this installation needs."""
        settings, demo = self._settings, self._demo
        values: dict[str, object] = {
            "BASE_URL": base_url(settings),
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "READ_MODEL_URL": settings.read_model_url,
            variable_of("partner_bootstrap_servers"): settings.partner_bootstrap_servers,
            variable_of("partner_ca"): settings.partner_ca,
            variable_of("health_pages"): ",".join(
                page for pages in health_pages(settings).values() for page in pages
            ),
        }
        if demo is not None:
            values |= demo.variables(settings)
        for role, service in self._services.items():
            values[f"{role.upper()}_PID"] = service.pid or ""
        if self._broker is not None:
            values["BROKER_PID"] = self._broker.pid
        lines = env_lines(values)
        write_atomically(settings.state_dir / DEMO_ENV, lines.encode(), mode=0o600)

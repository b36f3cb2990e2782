"""Runs the brokers: one node with links that can be spoilt, or a cluster of three."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from chaos.link import Link
from chaos.ports import PortRange
from eventlog.local.local_broker import LocalBroker
from eventlog.local.partner_listener import NAME as PARTNERS
from eventlog.local.partner_listener import listener_properties
from operations.partners.listener_tls import PartnerTls, ensure_certificates

HEAP_MIB = 384
DIRECT = "PLAINTEXT"


class _Node(msgspec.Struct, frozen=True):
    """``proxied``: per role, the port that the broker listens on and the port of its link, which
    it advertises there."""

    id: int
    folder: Path
    client_port: int
    controller_port: int
    partner_port: int
    proxied: Mapping[str, tuple[int, int]]


class Brokers:
    """Runs ``count`` brokers that are controllers too, and listen to partners apart. With links,
    each role has its own listener. The advertised address of such a listener is a link: all that
    the role sends and gets passes through."""

    def __init__(
        self, folder: Path, ports: PortRange, count: int, linked_roles: Sequence[str] = ()
    ) -> None:
        numbers = range(1, count + 1)
        self._nodes = [_node(folder, ports, number, linked_roles) for number in numbers]
        self._voters = ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in self._nodes)
        self._running: dict[int, LocalBroker] = {}
        self._folder = folder
        self._certificates: PartnerTls | None = None
        self.links: dict[str, Link] = {}

    @property
    def count(self) -> int:
        return len(self._nodes)

    @property
    def replication(self) -> int:
        return min(3, self.count)

    @property
    def bootstrap_servers(self) -> str:
        """The direct addresses, for those who watch and judge."""
        return ",".join(f"127.0.0.1:{node.client_port}" for node in self._nodes)

    @property
    def partner_servers(self) -> str:
        """The addresses at which partners log in."""
        return ",".join(f"127.0.0.1:{node.partner_port}" for node in self._nodes)

    @property
    def partner_ca(self) -> str:
        return self._tls.ca

    @property
    def _tls(self) -> PartnerTls:
        assert self._certificates is not None, "no broker was started"
        return self._certificates

    def servers_for(self, role: str) -> str:
        link = self.links.get(role)
        return self.bootstrap_servers if link is None else f"127.0.0.1:{link.port}"

    async def start(self) -> None:
        self._certificates = await asyncio.to_thread(_certificates, self._folder)
        for role, (behind, front) in self._nodes[0].proxied.items():
            self.links[role] = Link(front, behind)
            await self.links[role].open()
        await asyncio.gather(*(self.start_node(number) for number in range(self.count)))

    async def stop(self) -> None:
        for link in self.links.values():
            await link.close()
        stopping = [asyncio.to_thread(broker.stop) for broker in self._running.values()]
        await asyncio.gather(*stopping)

    async def start_node(self, number: int) -> None:
        """Starts a node; returns when it answers."""
        node = self._nodes[number]
        self._running[number] = await asyncio.to_thread(
            LocalBroker.start,
            node.folder,
            port=node.client_port,
            heap_mib=HEAP_MIB,
            properties=self._properties(node),
        )

    async def kill_node(self, number: int) -> None:
        """Sends SIGKILL; returns when the node has gone."""
        self._signal(number, signal.SIGKILL)
        await asyncio.to_thread(self._running[number].wait, 10.0)

    async def stop_node(self, number: int) -> None:
        await asyncio.to_thread(self._running[number].stop, 60.0)

    def pause_node(self, number: int) -> None:
        self._signal(number, signal.SIGSTOP)

    def resume_node(self, number: int) -> None:
        self._signal(number, signal.SIGCONT)

    def _signal(self, number: int, kind: signal.Signals) -> None:
        os.kill(self._running[number].pid, kind)

    def _properties(self, node: _Node) -> dict[str, str]:
        listeners = [
            f"{DIRECT}://127.0.0.1:{node.client_port}",
            f"CONTROLLER://127.0.0.1:{node.controller_port}",
            f"{PARTNERS}://127.0.0.1:{node.partner_port}",
            *(f"{role.upper()}://127.0.0.1:{port}" for role, (port, _) in node.proxied.items()),
        ]
        advertised = [
            f"{DIRECT}://127.0.0.1:{node.client_port}",
            f"{PARTNERS}://127.0.0.1:{node.partner_port}",
            *(f"{role.upper()}://127.0.0.1:{link}" for role, (_, link) in node.proxied.items()),
        ]
        names = [DIRECT, "CONTROLLER", *(role.upper() for role in node.proxied)]
        protocols = [f"{PARTNERS}:SASL_SSL", *(f"{name}:PLAINTEXT" for name in names)]
        properties = {
            "node.id": str(node.id),
            "controller.quorum.voters": self._voters,
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": ",".join(protocols),
            "inter.broker.listener.name": DIRECT,
            **listener_properties(self._tls.keystore),
        }
        if self.count > 1:
            copies, least = str(self.replication), str(self.replication - 1)
            properties |= {
                "offsets.topic.replication.factor": copies,
                "transaction.state.log.replication.factor": copies,
                "transaction.state.log.min.isr": least,
                "share.coordinator.state.topic.replication.factor": copies,
                "share.coordinator.state.topic.min.isr": least,
                "default.replication.factor": copies,
                "min.insync.replicas": least,
                "unclean.leader.election.enable": "false",
            }
        return properties


def _certificates(folder: Path) -> PartnerTls:
    folder.mkdir(parents=True, exist_ok=True)
    return ensure_certificates(folder, ["127.0.0.1"])


def _node(folder: Path, ports: PortRange, number: int, linked_roles: Sequence[str]) -> _Node:
    return _Node(
        id=number,
        folder=folder / f"broker-{number}",
        client_port=ports.take(),
        controller_port=ports.take(),
        partner_port=ports.take(),
        proxied={role: (ports.take(), ports.take()) for role in linked_roles},
    )

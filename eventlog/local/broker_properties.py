"""Makes the properties of a broker that stands alone."""

from collections.abc import Mapping

from eventlog.local.partner_listener import NAME, PartnerListener, listener_properties

SINGLE_NODE_PROPERTIES: Mapping[str, str] = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 50 by default, to spread coordination over many brokers. Here each is only a folder and five
    # files to create on the first start and to open on every other.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    # A dead writer's transaction hides all that follows it: look for those every second, not 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A transaction that begins before the markers of the one before are written waits: 20 ms by
    # default.
    "add.partitions.to.txn.retry.backoff.ms": "2",
    # After a crash a node waits out its own old session before it is let in: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # 128 MiB of the heap by default.
    "log.cleaner.dedupe.buffer.size": "16777216",
}
"""What makes one node behave as a cluster would, on a small machine."""


def render_properties(values: Mapping[str, str]) -> str:
    """Returns a Java properties file, which is Latin-1 with escapes."""
    return "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in values.items())


def _escaped(text: str) -> str:
    """Writes ``\\uXXXX`` per UTF-16 unit that Java would read as something else."""
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(
        chr(code) if 0x21 <= code < 0x7F and chr(code) not in "\\=:#!" else f"\\u{code:04x}"
        for code in codes
    )


def node_properties(
    client_port: int, controller_port: int, partners: PartnerListener | None = None
) -> dict[str, str]:
    """Returns the properties of one node. Names in them are relative to the broker's folder, which
    is its working directory: ``log.dirs`` can't name a path with a comma or a space in it."""
    client, controller = f"127.0.0.1:{client_port}", f"127.0.0.1:{controller_port}"
    listeners = [f"PLAINTEXT://{client}", f"CONTROLLER://{controller}"]
    advertised = [f"PLAINTEXT://{client}"]
    protocols = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
    if partners is not None:
        listeners.append(partners.listens_on)
        advertised.append(f"{NAME}://{partners.servers}")
        protocols.append(f"{NAME}:SASL_SSL")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(advertised),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(protocols),
        "log.dirs": "data",
        **(listener_properties(partners.keystore) if partners is not None else {}),
    }

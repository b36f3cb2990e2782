"""Writes what a partner's Kafka client needs, as a file that the client takes as it is. Pure."""

import json
from typing import Literal

import msgspec

ClientKind = Literal["java", "librdkafka", "kafkajs", "python"]
NO_PASSWORD = "<the password, as it was printed when the user was made>"
MECHANISM = "SCRAM-SHA-512"


class Access(msgspec.Struct, frozen=True):
    """Holds what a client has to be told. ``ca``: certificates in PEM, empty if a public CA signed
    the brokers'; ``group``: a consumer group that the partner may use."""

    servers: str
    user: str
    password: str
    ca: str
    topic: str
    group: str


def client_file(kind: ClientKind, access: Access) -> str:
    match kind:
        case "java":
            return _java(access)
        case "librdkafka":
            return _librdkafka(access)
        case "kafkajs":
            return _kafkajs(access)
        case "python":
            return _python(access)


def _java(access: Access) -> str:
    """Writes properties for Kafka's own client and tools. The certificate is one line, as their
    value can have no other."""
    lines = [
        f"# {access.topic}",
        f"bootstrap.servers={access.servers}",
        "security.protocol=SASL_SSL",
        f"sasl.mechanism={MECHANISM}",
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\",
        f'  username="{access.user}" password="{access.password}";',
    ]
    if access.ca:
        folded = access.ca.strip().replace("\n", "\\n\\\n  ")
        lines += ["ssl.truststore.type=PEM", f"ssl.truststore.certificates={folded}"]
    lines += [
        f"group.id={access.group}",
        "isolation.level=read_committed",
        "auto.offset.reset=earliest",
        "enable.auto.commit=false",
        "allow.auto.create.topics=false",
    ]
    return "\n".join(lines) + "\n"


def _librdkafka_options(access: Access) -> dict[str, str]:
    return {
        "bootstrap.servers": access.servers,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": MECHANISM,
        "sasl.username": access.user,
        "sasl.password": access.password,
        **({"ssl.ca.pem": access.ca.strip()} if access.ca else {}),
        "group.id": access.group,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
    }


def _librdkafka(access: Access) -> str:
    """Writes ``name=value`` lines, as kcat's ``-F`` takes them: it reads ``\\n`` as a new line."""
    lines = [f"# {access.topic}"]
    for name, value in _librdkafka_options(access).items():
        folded = value.replace("\n", "\\n")
        lines.append(f"{name}={folded}")
    return "\n".join(lines) + "\n"


def _python(access: Access) -> str:
    """Writes a module for confluent-kafka."""
    options = "".join(
        f"    {json.dumps(name)}: {json.dumps(value)},\n"
        for name, value in _librdkafka_options(access).items()
    )
    return (
        '"""Settings for confluent-kafka: `Consumer(CONFIG)`, then `subscribe([TOPIC])`."""\n\n'
        f"TOPIC = {json.dumps(access.topic)}\nCONFIG = {{\n{options}}}\n"
    )


def _kafkajs(access: Access) -> str:
    """Writes an ES module."""
    ssl = json.dumps({"ca": [access.ca.strip()]}) if access.ca else "true"
    sasl = json.dumps(
        {"mechanism": MECHANISM.lower(), "username": access.user, "password": access.password}
    )
    return (
        "// For kafkajs: `new Kafka(config)`, then `consumer(consumerConfig)`.\n"
        f"export const topic = {json.dumps(access.topic)};\n"
        "export const config = {\n"
        f"  brokers: {json.dumps(access.servers.split(','))},\n"
        f"  ssl: {ssl},\n"
        f"  sasl: {sasl},\n"
        "};\n"
        f"export const consumerConfig = {{ groupId: {json.dumps(access.group)}, "
        "readUncommitted: false };\n"
        "export const subscription = { topics: [topic], fromBeginning: true };\n"
    )

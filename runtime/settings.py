"""Reads the configuration: environment variables, listed here and nowhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runtime.addresses import bootstrap_servers
from runtime.durations import read_duration
from runtime.environment import (
    read_env_file,
    warnings_about,
    without_service_links,
)
from runtime.errors import ConfigurationError
from schemas.lanes import Lanes
from schemas.topic_configs import Retentions
from schemas.topics import LockTopics

_UNPREFIXED = ("kafka_", "read_model_", "otel_")


def variable_of(field: str) -> str:
    """Returns the environment variable of a setting. ``kafka_…``, ``read_model_…`` and ``otel_…``
    go by their own name, all others are prefixed with ``LOCKSTREAM_``."""
    return field.upper() if field.startswith(_UNPREFIXED) else f"LOCKSTREAM_{field.upper()}"


def _says(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
MOST_WORKERS = 64


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=variable_of):
    """Holds every setting with its default and its meaning. An empty variable is the same as
    none."""

    kafka_bootstrap_servers: Annotated[
        str,
        _says("Kafka's servers, comma-separated host:port; empty: `lockstream up` runs its own"),
    ] = ""
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        _says("PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as at the brokers' listener"),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        _says("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used if the protocol is SASL_…"),
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str, _says("user name for SASL")] = ""
    kafka_sasl_password: Annotated[str, _says("password for SASL")] = ""
    kafka_ssl_cafile: Annotated[
        str, _says("file with the CA certificates of the brokers; empty: the system's")
    ] = ""

    partner_bootstrap_servers: Annotated[
        str,
        _says(
            "Kafka's servers as partners reach them, comma-separated host:port; empty: those of "
            "`lockstream up`, or not known"
        ),
    ] = ""
    partner_ca: Annotated[
        str,
        _says("PEM file: the CA that partners check these servers by; empty: a public one"),
    ] = ""
    partner_host: Annotated[
        str, _says("the address or host on which the broker of `lockstream up` listens to partners")
    ] = "127.0.0.1"
    partner_port: Annotated[
        Port, _says("… and the port; 0: that of the last time, or 9093 if it is free")
    ] = 0
    partner_tls_cert: Annotated[
        str,
        _says("PEM file: … its certificate and chain; empty: one of a CA in the state folder"),
    ] = ""
    partner_tls_key: Annotated[
        str, _says("PEM file: … the certificate's private key, PKCS #8, unencrypted")
    ] = ""
    partner_max_rate: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="bytes a second that each of a partner's users may read from a broker; 0: "
            "as many as there are; `partner set --max-rate` changes one partner's",
        ),
    ] = 10 * 1024 * 1024

    read_model_url: Annotated[
        str,
        _says("sqlite:///file or postgresql://…; empty: a SQLite file in the state folder"),
    ] = ""
    read_model_timeout: Annotated[Seconds, _says("seconds that one query may take at most")] = 5.0

    state_dir: Annotated[Path, _says("folder of all that a local installation keeps")] = Path(
        ".lockstream"
    )
    topic_prefix: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[A-Za-z0-9._-]{0,64}\Z",
            description="begins the name of every topic and group; letters, digits, '.', '_', '-'",
        ),
    ] = ""
    partitions: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1000,
            description="how many partitions each lock topic has; can't be changed later",
        ),
    ] = 12
    lanes: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1000,
            description="how many lanes the partitions are shared out to: so many replicas of a "
            "stage can work; may be changed while every projector and fan-out is stopped",
        ),
    ] = 1
    replication_factor: Annotated[
        int, msgspec.Meta(ge=1, le=9, description="copies of each topic that Lockstream creates")
    ] = 1
    min_insync_replicas: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=9, description="copies that must hold a record before it counts as written"
        ),
    ] = 1
    facts_retention: Annotated[
        str,
        _says("how long `lock-facts` keeps a fact: 7d, 12h; used when the topic is made"),
    ] = "7d"
    parked_retention: Annotated[
        str, _says("how long `lock-facts.parked` keeps a parked fact; likewise")
    ] = "30d"
    partner_retention: Annotated[
        str,
        _says(
            "how long a partner's topic keeps a record; likewise; `partner set --retention` "
            "changes one partner's"
        ),
    ] = "30d"
    instance_id: Annotated[
        str,
        _says(
            "this replica's fixed name in consumer groups (KIP-345): a restart moves no partition"
        ),
    ] = ""
    session_timeout: Annotated[
        Seconds, _says("seconds until a silent replica's partitions go to another")
    ] = 10.0

    api_host: Annotated[str, _says("the address or host that the API listens on")] = "127.0.0.1"
    api_port: Annotated[Port, _says("the port that the API listens on")] = 8080
    api_workers: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_WORKERS,
            description="processes that serve the API's port together, each a replica of its own",
        ),
    ] = 1
    tls_cert: Annotated[
        str, _says("PEM file: certificate and chain of the API; empty: plain HTTP")
    ] = ""
    tls_key: Annotated[str, _says("PEM file: the certificate's private key, unencrypted")] = ""
    trusted_hosts: Annotated[
        str, _says("comma-separated Host names the API answers to, `*.example.org` too; empty: any")
    ] = ""
    trusted_proxies: Annotated[
        str, _says("comma-separated addresses or networks whose X-Forwarded-* count; empty: none")
    ] = ""
    api_metrics: Annotated[
        Literal["local", "everybody", "off"],
        _says("who gets /metrics on the API's port; local: this machine, not through a proxy"),
    ] = "local"
    api_health_port: Annotated[
        Port,
        _says(
            "a second port for the API's /livez, /readyz and /metrics; 0: none; with several "
            "workers the first of as many ports"
        ),
    ] = 0
    health_host: Annotated[str, _says("the address or host that the health ports listen on")] = (
        "127.0.0.1"
    )
    projector_health_port: Annotated[
        Port, _says("port of the projector's /livez, /readyz and /metrics; 0: any free port")
    ] = 0
    fanout_health_port: Annotated[
        Port, _says("port of the fan-out's /livez, /readyz and /metrics; 0: any free port")
    ] = 0
    fanout_niceness: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=19,
            description="how far the fan-out gives way to commands on the same machine, by nice(2)",
        ),
    ] = 5

    health_pages: Annotated[
        str,
        _says("comma-separated http://host:port of the replicas that `lockstream status` asks"),
    ] = ""
    jwt_issuers: Annotated[
        str,
        _says(
            'whose tokens are accepted: a JSON list [{"issuer", "audience", "jwks"}], or a file '
            'with one; `jwks`: a URL or a file; optional: "algorithms" (a list), "scope"'
        ),
    ] = ""
    jwt_jwks_refresh: Annotated[Seconds, _says("seconds between two fetches of a JWKS URL")] = 300.0
    jwt_jwks_max_stale: Annotated[
        Seconds,
        _says("seconds that an issuer's keys are used while it can't be reached; then 503"),
    ] = 86400.0
    jwt_max_lifetime: Annotated[
        Seconds, _says("longest accepted lifetime of a token (`exp` - `iat`), seconds")
    ] = 86400.0

    answer_timeout: Annotated[
        Seconds, _says("seconds that a command waits for its version; then 202")
    ] = 2.0
    publish_timeout: Annotated[
        Seconds, _says("seconds that a command waits for Kafka to take its fact; then 503")
    ] = 5.0
    max_in_flight: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            description="requests that may be in progress at once, without probes; more get 503",
        ),
    ] = 2048
    receipt_timeout: Annotated[
        Seconds,
        _says("seconds within which a request's head must arrive, and as many again for its body"),
    ] = 10.0
    organization_rate_limit: Annotated[
        int,
        msgspec.Meta(ge=0, description="requests of one organisation per window; 0: no limit"),
    ] = 0
    key_rate_limit: Annotated[
        int, msgspec.Meta(ge=0, description="requests with one API key per window; 0: no limit")
    ] = 0
    rate_limit_window: Annotated[
        int, msgspec.Meta(ge=1, le=86400, description="the window of both limits, in seconds")
    ] = 60
    otel_exporter_otlp_endpoint: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(https?://\S+)?\Z",
            description="OTLP/HTTP collector; spans go to its /v1/traces; empty: no traces",
        ),
    ] = ""
    otel_exporter_otlp_traces_endpoint: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(https?://\S+)?\Z",
            description="the same for traces only: a complete URL, used as it is",
        ),
    ] = ""
    otel_exporter_otlp_protocol: Annotated[
        Literal["http/protobuf"], _says("always http/protobuf")
    ] = "http/protobuf"
    otel_sdk_disabled: Annotated[bool, _says("true: no traces, whatever the endpoint")] = False
    otel_service_name: Annotated[
        str, _says("service name in traces; empty: lockstream-api and so on, by role")
    ] = ""
    otel_traces_sampler: Annotated[
        Literal[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ],
        _says("which traces are kept; parentbased_…: as the caller's flag says, if there is one"),
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[
        float,
        msgspec.Meta(ge=0, le=1, description="share of traces that traceidratio keeps, 0 to 1"),
    ] = 1.0
    access_log: Annotated[bool, _says("true: the API logs one line for each request")] = True
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        _says("DEBUG, INFO, WARNING or ERROR; DEBUG holds for our own loggers only"),
    ] = "INFO"

    @property
    def topics(self) -> LockTopics:
        return LockTopics(self.topic_prefix, self.partitions)

    @property
    def retentions(self) -> Retentions:
        return Retentions(
            facts_ms=_retention_ms("facts_retention", self.facts_retention),
            parked_ms=_retention_ms("parked_retention", self.parked_retention),
            partner_ms=_retention_ms("partner_retention", self.partner_retention),
        )

    @property
    def lane_sets(self) -> Lanes:
        return Lanes(self.partitions, self.lanes)

    @property
    def otlp_traces_url(self) -> str:
        """The URL that spans go to; empty: none."""
        base = self.otel_exporter_otlp_endpoint.rstrip("/")
        return self.otel_exporter_otlp_traces_endpoint or (base and f"{base}/v1/traces")

    def __repr__(self) -> str:
        return f"Settings(kafka={self.kafka_bootstrap_servers!r}, …)"


def read_settings(environment: Mapping[str, str], dotenv: Path | None = None) -> Settings:
    """Reads the settings; the environment wins over the ``.env`` file.

    Raises:
        ConfigurationError: a variable has a value that it can't have; the text names it.
    """
    merged = _merged(environment, dotenv)
    chosen = {k: v for k, v in merged.items() if k in _known() and v != ""}
    try:
        settings = msgspec.convert(chosen, Settings, strict=False, dec_hook=_convert_path)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at `$.")
        raise ConfigurationError(f"{place.rstrip('`') or 'a setting'}: {sentence}") from error
    return _checked(settings)


def unknown_variables(environment: Mapping[str, str], dotenv: Path | None = None) -> list[str]:
    """Returns a warning for each variable that looks like a setting and is none. Such variables
    stop nothing: the namespace is shared, and a newer version's setting is no reason for an older
    one not to start.

    Raises:
        ConfigurationError: the file can't be read.
    """
    return warnings_about(_merged(environment, dotenv).keys(), _known())


def _merged(environment: Mapping[str, str], dotenv: Path | None) -> dict[str, str]:
    from_file = read_env_file(dotenv) if dotenv is not None else {}
    return {**from_file, **without_service_links(environment)}


def _known() -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(Settings)}


def _checked(settings: Settings) -> Settings:
    """Checks what one value alone can't tell, and brings the servers into one form.

    Raises:
        ConfigurationError: see ``read_settings``.
    """
    if settings.min_insync_replicas > settings.replication_factor:
        raise ConfigurationError(
            f"LOCKSTREAM_MIN_INSYNC_REPLICAS: {settings.min_insync_replicas} is more than "
            f"LOCKSTREAM_REPLICATION_FACTOR, {settings.replication_factor}: nothing can be written"
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if not getattr(settings, name):
                raise ConfigurationError(
                    f"{variable_of(name)} is not set, and KAFKA_SECURITY_PROTOCOL is "
                    f"{settings.kafka_security_protocol}"
                )
    _ = settings.retentions  # says which is no duration
    return msgspec.structs.replace(
        settings, kafka_bootstrap_servers=bootstrap_servers(settings.kafka_bootstrap_servers)
    )


def _retention_ms(field: str, text: str) -> int:
    return int(read_duration(variable_of(field), text).total_seconds() * 1000)


def _convert_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)

import os
from pathlib import Path

import pytest
from msgspec.structs import fields

from runtime.errors import ConfigurationError
from runtime.settings import Settings, read_settings, unknown_variables
from schemas.topic_configs import Retentions


def test_every_setting_has_a_default_and_an_empty_variable_is_none() -> None:
    settings = read_settings({"LOCKSTREAM_PARTITIONS": ""})
    assert settings.partitions == 12
    assert settings.state_dir == Path(".lockstream")


def test_topics_are_kept_as_long_as_the_settings_say() -> None:
    assert Settings().retentions == Retentions()
    chosen = {
        "LOCKSTREAM_FACTS_RETENTION": "2d",
        "LOCKSTREAM_PARKED_RETENTION": "12h",
        "LOCKSTREAM_PARTNER_RETENTION": "90d",
    }
    assert read_settings(chosen).retentions == Retentions(
        facts_ms=172_800_000, parked_ms=43_200_000, partner_ms=7_776_000_000
    )


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("LOCKSTREAM_PARTITIONS=5\nKAFKA_BOOTSTRAP_SERVERS=there:9092\nOTHER=1\n")
    settings = read_settings({"LOCKSTREAM_PARTITIONS": "7"}, file)
    assert (settings.partitions, settings.kafka_bootstrap_servers) == (7, "there:9092")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCKSTREAM_PARTITIONS", "many"),
        ("LOCKSTREAM_PARTITIONS", "0"),
        ("LOCKSTREAM_REPLICATION_FACTOR", "0"),
        ("LOCKSTREAM_MIN_INSYNC_REPLICAS", "2"),
        ("LOCKSTREAM_API_PORT", "99999"),
        ("LOCKSTREAM_API_PORT", "-1"),
        ("LOCKSTREAM_FANOUT_NICENESS", "20"),
        ("LOCKSTREAM_LOG_LEVEL", "LOUD"),
        ("LOCKSTREAM_ANSWER_TIMEOUT", "-1"),
        ("LOCKSTREAM_ANSWER_TIMEOUT", "0"),
        ("READ_MODEL_TIMEOUT", "1e999"),
        ("LOCKSTREAM_FACTS_RETENTION", "7"),
        ("LOCKSTREAM_PARKED_RETENTION", "0d"),
        ("LOCKSTREAM_PARTNER_RETENTION", "forever"),
        ("KAFKA_SECURITY_PROTOCOL", "NONE"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:abc"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:²"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:70000"),
        ("KAFKA_BOOTSTRAP_SERVERS", ","),
        ("KAFKA_BOOTSTRAP_SERVERS", ":9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "two words:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "[::1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "[host]x:1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://host:9092"),
    ],
)
def test_a_variable_that_can_not_be_used_is_named_in_one_line(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        read_settings({name: value})
    assert "\n" not in str(refused.value)


FLOATS = [f.encode_name for f in fields(Settings) if isinstance(f.default, float)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", FLOATS)
def test_no_setting_takes_what_is_no_finite_number(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("host", "host:9092"),
        ("host:1, other:2 ,", "host:1,other:2"),
        ("[::1]:9093", "[::1]:9093"),
        ("[::1]", "[::1]:9092"),
        ("::1", "[::1]:9092"),
        ("b-1.msk.example.org:9096", "b-1.msk.example.org:9096"),
    ],
)
def test_servers_are_taken_as_people_write_them(given: str, used: str) -> None:
    assert read_settings({"KAFKA_BOOTSTRAP_SERVERS": given}).kafka_bootstrap_servers == used


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LOCKSTREAM_PARTITION", "LOCKSTREAM_PARTITIONS"),
        ("LOCKSTREAM_APIPORT", "LOCKSTREAM_API_PORT"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("READ_MODEL_URI", "READ_MODEL_URL"),
        ("LOCKSTREAM_XYZZY", "`lockstream settings`"),
    ],
)
def test_an_unknown_name_is_warned_of_and_stops_nothing(name: str, meant: str) -> None:
    assert read_settings({name: "1"}) == read_settings({})
    (warning,) = unknown_variables({name: "1"})
    assert name in warning
    assert meant in warning


def test_what_others_put_into_the_environment_is_passed_over(tmp_path: Path) -> None:
    links = {
        "LOCKSTREAM_SERVICE_HOST": "10.0.0.1",
        "LOCKSTREAM_SERVICE_PORT": "8080",
        "LOCKSTREAM_SERVICE_PORT_HTTP": "8080",
        "LOCKSTREAM_PORT": "tcp://10.0.0.1:8080",
        "LOCKSTREAM_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "LOCKSTREAM_PORT_8080_TCP_ADDR": "10.0.0.1",
        "LOCKSTREAM_API_PORT": "tcp://10.0.0.1:8080",
        "LOCKSTREAM_API_PORT_8080_TCP_PORT": "8080",
        "LOCKSTREAM_API_PORT_8080_TCP_PROTO": "tcp",
        "LOCKSTREAM_API_SERVICE_HOST": "10.0.0.1",
        "KAFKA_PORT": "tcp://10.0.0.2:9092",
        "LOCKSTREAM_IMAGE": "registry.example.org/lockstream:1",
    }
    assert unknown_variables(links) == []
    assert read_settings(links).api_port == 8080
    file = tmp_path / ".env"
    file.write_text("LOCKSTREAM_API_PORT=8081\nLOCKSTREAM_IMAGE=x\nAPI_PORT=1\nKAFKA_PORT=9094\n")
    assert read_settings(links, file).api_port == 8081
    assert unknown_variables(links, file) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfLOCKSTREAM_PARTITIONS=5\n",
        b"# a remark\r\nLOCKSTREAM_PARTITIONS=5\r\n",
        b"export LOCKSTREAM_PARTITIONS=5",
        b"LOCKSTREAM_PARTITIONS='5'\n",
        b'LOCKSTREAM_PARTITIONS = "5" # five\n',
    ],
)
def test_a_file_is_read_as_people_write_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    assert read_settings({}, file).partitions == 5
    assert unknown_variables({}, file) == []


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert read_settings({}, file) == read_settings({})
    file.write_bytes(b"A=1\nB=\xfc\n")
    with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8: line 2 .*0xfc"):
        read_settings({}, file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigurationError, match=r"\.env can't be read: Is a directory"):
        read_settings({}, file)
    file.rmdir()
    file.write_text("A=1")
    file.chmod(0)
    if not os.access(file, os.R_OK):  # root may read all
        with pytest.raises(ConfigurationError, match="Permission denied"):
            read_settings({}, file)


def test_secrets_are_not_shown() -> None:
    settings = read_settings({"KAFKA_SASL_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)

from pathlib import Path

import pytest

from lockstream.runtime.errors import ConfigurationError
from lockstream.runtime.settings import read_settings


def test_every_setting_has_a_default_and_an_empty_variable_is_none() -> None:
    settings = read_settings({"LOCKSTREAM_PARTITIONS": ""})
    assert settings.partitions == 12
    assert settings.state_dir == Path(".lockstream")


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
        ("LOCKSTREAM_API_PORT", "99999"),
        ("LOCKSTREAM_LOG_LEVEL", "LOUD"),
        ("KAFKA_SECURITY_PROTOCOL", "NONE"),
        ("LOCKSTREAM_PARTITION", "12"),
    ],
)
def test_a_bad_or_mistyped_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read_settings({name: value})


def test_secrets_are_not_shown() -> None:
    settings = read_settings({"KAFKA_SASL_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)

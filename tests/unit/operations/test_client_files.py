"""The files for partners' clients, each read as its client reads it."""

import json
import runpy
from pathlib import Path
from typing import get_args

import pytest

from operations.partners.client_files import Access, ClientKind, client_file

CA = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n"
ACCESS = Access(
    servers="kafka.example:9093,[::1]:9093",
    user="acme-crm/1",
    password="s3cr-et_X",
    ca=CA,
    topic="partner.acme-crm.lock-events",
    group="acme-crm",
)


def java_properties(text: str) -> dict[str, str]:
    """Reads what ``java.util.Properties`` reads, as far as it goes here."""
    logical = text.replace("\\\n  ", "").splitlines()
    pairs = [line.partition("=") for line in logical if line and not line.startswith("#")]
    return {name: value.replace("\\n", "\n") for name, _, value in pairs}


def test_javas_file_has_the_certificate_in_one_value() -> None:
    found = java_properties(client_file("java", ACCESS))
    assert found["ssl.truststore.certificates"] == CA.strip()
    assert found["sasl.jaas.config"].endswith('username="acme-crm/1" password="s3cr-et_X";')
    assert found["bootstrap.servers"] == ACCESS.servers
    assert found["isolation.level"] == "read_committed"


def test_librdkafkas_file_has_one_line_for_each_setting() -> None:
    lines = client_file("librdkafka", ACCESS).splitlines()
    found = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert found["ssl.ca.pem"].replace("\\n", "\n") == CA.strip()
    assert (found["sasl.username"], found["group.id"]) == ("acme-crm/1", "acme-crm")


def test_pythons_file_is_a_module(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(client_file("python", ACCESS))
    found = runpy.run_path(str(tmp_path / "client.py"))
    assert found["TOPIC"] == ACCESS.topic
    assert found["CONFIG"]["ssl.ca.pem"] == CA.strip()
    assert found["CONFIG"]["enable.auto.commit"] == "false"


def test_kafkajs_file_names_each_broker() -> None:
    text = client_file("kafkajs", ACCESS)
    assert json.dumps(["kafka.example:9093", "[::1]:9093"]) in text
    assert json.dumps({"ca": [CA.strip()]}) in text


@pytest.mark.parametrize("kind", get_args(ClientKind))
def test_a_public_authority_is_not_named(kind: ClientKind) -> None:
    without = Access(**{**{f: getattr(ACCESS, f) for f in ACCESS.__struct_fields__}, "ca": ""})
    assert "CERTIFICATE" not in client_file(kind, without)
    assert "truststore" not in client_file(kind, without)
    assert "acme-crm/1" in client_file(kind, without)

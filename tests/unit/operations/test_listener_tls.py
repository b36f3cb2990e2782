"""The certificate that partners see, and the CA that they check it by."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from operations.partners import listener_tls
from operations.partners.listener_tls import ensure_certificates, partner_tls
from runtime.errors import ConfigurationError
from runtime.settings import Settings
from tests.certificates import make_certificate


def certificate(keystore: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(keystore.read_bytes())[0]


def test_the_files_are_for_this_user_only_and_stay_as_they_are(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path, ["127.0.0.1"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"ca.pem", "ca-key.pem", "server.pem"}
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    assert ensure_certificates(tmp_path, ["127.0.0.1"]) == first
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_name_that_is_new_gets_a_certificate_of_the_same_authority(tmp_path: Path) -> None:
    tls = ensure_certificates(tmp_path, ["127.0.0.1"])
    authority = Path(tls.ca).read_bytes()
    ensure_certificates(tmp_path, ["127.0.0.1", "kafka.example", "::1"])
    assert Path(tls.ca).read_bytes() == authority
    names = certificate(tls.keystore).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["kafka.example"]
    assert ip_address("::1") in names.value.get_values_for_type(x509.IPAddress)


def test_a_certificate_is_renewed_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as short:
        short.setattr(listener_tls, "LIFETIME", listener_tls.RENEW_BEFORE - timedelta(days=1))
        tls = ensure_certificates(tmp_path, ["127.0.0.1"])
    ending = certificate(tls.keystore).serial_number
    ensure_certificates(tmp_path, ["127.0.0.1"])
    renewed = certificate(tls.keystore)
    assert renewed.serial_number != ending
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)


@pytest.mark.parametrize("spoiled", ["ca.pem", "ca-key.pem", "server.pem"])
def test_a_file_that_was_cut_short_is_made_anew(tmp_path: Path, spoiled: str) -> None:
    ensure_certificates(tmp_path, ["127.0.0.1"])
    (tmp_path / spoiled).write_bytes((tmp_path / spoiled).read_bytes()[:40])
    tls = ensure_certificates(tmp_path, ["127.0.0.1"])
    authority = ssl.create_default_context(cafile=tls.ca)
    assert len(authority.get_ca_certs()) == 1
    ca = x509.load_pem_x509_certificate(Path(tls.ca).read_bytes())
    certificate(tls.keystore).verify_directly_issued_by(ca)


def given(folder: Path, cert: str = "", key: str = "", ca: str = "") -> Settings:
    return Settings(state_dir=folder, partner_tls_cert=cert, partner_tls_key=key, partner_ca=ca)


def test_a_certificate_of_ones_own_is_given_to_the_broker_whole(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    settings = given(tmp_path, cert, key, ca=cert)
    tls = partner_tls(settings)
    assert (tls.keystore.read_bytes().split(), tls.ca) == (
        (Path(key).read_bytes() + Path(cert).read_bytes()).split(),
        cert,
    )
    assert tls.keystore.stat().st_mode & 0o777 == 0o600


def test_half_of_a_certificate_is_named(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_PARTNER_TLS_KEY is not set"):
        partner_tls(given(tmp_path, cert=cert))
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_PARTNER_TLS_CERT is not set"):
        partner_tls(given(tmp_path, key=key))


def test_files_that_kafka_could_not_use_are_named(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "locked", b"secret")
    with pytest.raises(ConfigurationError, match="PKCS #8"):
        partner_tls(given(tmp_path, cert, key))
    with pytest.raises(ConfigurationError, match="No such file"):
        partner_tls(given(tmp_path, cert, "nowhere.pem"))
    _, open_key = make_certificate(tmp_path)
    with pytest.raises(ConfigurationError, match="no certificate in PEM"):
        partner_tls(given(tmp_path, open_key, open_key))

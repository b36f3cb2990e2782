"""Makes the certificate of the listener for partners, signed by a CA of this installation."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eventlog.local.partner_listener import PartnerListener
from runtime.addresses import reachable
from runtime.errors import ConfigurationError
from runtime.files import write_atomically
from runtime.settings import Settings

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=398)
RENEW_BEFORE = timedelta(days=60)
CLOCKS_DIFFER = timedelta(hours=1)
ALWAYS_NAMED = ("127.0.0.1", "localhost")


class PartnerTls(msgspec.Struct, frozen=True):
    """Names the files. ``keystore``: private key and chain, for the broker; ``ca``: what partners
    check it by, empty where that is a public one."""

    keystore: Path
    ca: str


def local_partner_listener(settings: Settings) -> tuple[PartnerListener, str]:
    """Returns the listener for partners of a broker on this machine, and the CA that they check it
    by.

    Raises:
        ConfigurationError: as ``partner_tls``.
    """
    tls = partner_tls(settings)
    return (
        PartnerListener(
            host=settings.partner_host,
            port=settings.partner_port,
            keystore=tls.keystore,
            advertised=settings.partner_bootstrap_servers.split(",")[0],
        ),
        tls.ca,
    )


def partner_tls(settings: Settings) -> PartnerTls:
    """Returns the certificate that the settings name, or one of our own.

    Raises:
        ConfigurationError: the settings name files that can't be used.
    """
    folder = settings.state_dir.absolute() / "partner-tls"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.partner_tls_cert or settings.partner_tls_key:
        return PartnerTls(_given_keystore(settings, folder), settings.partner_ca)
    named = settings.partner_bootstrap_servers.split(",")[0].rpartition(":")[0].strip("[]")
    hosts = [*ALWAYS_NAMED, reachable(settings.partner_host), *([named] if named else [])]
    return ensure_certificates(folder, hosts)


def _given_keystore(settings: Settings, folder: Path) -> Path:
    """Joins key and chain in one file, as Kafka wants them (KIP-651)."""
    parts = []
    for variable, file in (
        ("LOCKSTREAM_PARTNER_TLS_KEY", settings.partner_tls_key),
        ("LOCKSTREAM_PARTNER_TLS_CERT", settings.partner_tls_cert),
    ):
        if not file:
            raise ConfigurationError(f"{variable} is not set; certificate and key need each other")
        try:
            parts.append(Path(file).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{variable}: {file}: {error.strerror}") from error
    key, chain = parts
    if b"BEGIN PRIVATE KEY" not in key:
        raise ConfigurationError(
            f"LOCKSTREAM_PARTNER_TLS_KEY: {settings.partner_tls_key} is no unencrypted PKCS #8 key "
            "in PEM; `openssl pkcs8 -topk8 -nocrypt` makes one"
        )
    if b"BEGIN CERTIFICATE" not in chain:
        raise ConfigurationError(
            f"LOCKSTREAM_PARTNER_TLS_CERT: {settings.partner_tls_cert} has no certificate in PEM"
        )
    keystore = folder / "given.pem"
    write_atomically(keystore, key.rstrip() + b"\n" + chain, mode=0o600)
    return keystore


def ensure_certificates(folder: Path, hosts: list[str]) -> PartnerTls:
    """Makes what is missing in the folder, or no longer fits: a CA, and a certificate of it for
    these hosts. Partners keep the CA's, which lives for ten years."""
    ca_file, keystore = folder / "ca.pem", folder / "server.pem"
    now = datetime.now(UTC)
    ca, ca_key, is_new = _ensure_ca(folder, ca_file, now)
    if is_new or not _fits(keystore, hosts, now):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server_certificate(hosts, key.public_key(), ca, ca_key, now)
        write_atomically(keystore, _pem(key) + _text(certificate) + _text(ca), mode=0o600)
    return PartnerTls(keystore, str(ca_file))


def _ensure_ca(
    folder: Path, file: Path, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    """Returns certificate and key of the CA, and whether they were made now."""
    key_file = folder / "ca-key.pem"
    try:
        ca = x509.load_pem_x509_certificate(file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, UnsupportedAlgorithm):
        pass
    else:
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == ca.public_key():
            return ca, key, False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lockstream partners")])
    ca = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_atomically(key_file, _pem(key), mode=0o600)
    write_atomically(file, _text(ca), mode=0o600)
    return ca, key, True


def _server_certificate(
    hosts: list[str],
    public_key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lockstream broker")])
    names = x509.SubjectAlternativeName(list(dict.fromkeys(map(_host_name, hosts))))
    return (
        _builder(name, ca.subject, public_key, now, LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _fits(keystore: Path, hosts: list[str], now: datetime) -> bool:
    """Returns whether the certificate names all of these hosts, and will be good for some time."""
    try:
        certificate = x509.load_pem_x509_certificates(keystore.read_bytes())[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = certificate.not_valid_after_utc - now > RENEW_BEFORE
    return lasts and all(_host_name(host) in names for host in hosts)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _text(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

"""Makes the properties of the listener that partners connect to: TLS, a password for each user, and
nothing allowed unless a rule says so."""

from pathlib import Path

import msgspec

from runtime.addresses import in_url, reachable

NAME = "PARTNERS"
_OWN = f"listener.name.{NAME.lower()}."
_SCRAM = "SCRAM-SHA-512"


class PartnerListener(msgspec.Struct, frozen=True):
    """Says where partners connect. ``port``: a wish, 0 for that of the last time; ``keystore``: PEM
    file with the private key and the certificate's chain; ``advertised``: the host and port by
    which partners elsewhere reach it, if these are others."""

    host: str
    port: int
    keystore: Path
    advertised: str = ""

    @property
    def listens_on(self) -> str:
        return f"{NAME}://{in_url(self.host)}:{self.port}"

    @property
    def servers(self) -> str:
        """Returns what a partner has to connect to."""
        return self.advertised or f"{in_url(reachable(self.host))}:{self.port}"


def listener_properties(keystore: Path) -> dict[str, str]:
    """Returns what makes a broker with such a listener ask who is there, and obey the rules. On the
    others everybody is its super user: they listen on loopback only."""
    return {
        f"{_OWN}sasl.enabled.mechanisms": _SCRAM,
        f"{_OWN}{_SCRAM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        f"{_OWN}ssl.keystore.type": "PEM",
        f"{_OWN}ssl.keystore.location": str(keystore),
        f"{_OWN}num.network.threads": "1",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }

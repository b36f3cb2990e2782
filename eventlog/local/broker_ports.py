"""Finds the ports of a local broker, which are those of its last time if they are free."""

from pathlib import Path

import msgspec

from eventlog.local.partner_listener import PartnerListener
from runtime.files import write_atomically
from runtime.ports import PortClaims, is_free

_DEFAULT_PORT = 9092
_DEFAULT_PARTNER_PORT = 9093


class BrokerPorts(msgspec.Struct, frozen=True):
    client: int
    controller: int
    partners: int = 0

    def listener(self, wanted: PartnerListener | None) -> PartnerListener | None:
        """Returns the listener for partners with the port that was found for it."""
        return msgspec.structs.replace(wanted, port=self.partners) if wanted else None

    def are_taken(self, partners: PartnerListener | None) -> bool:
        """Returns whether somebody else listens on one of them."""
        if partners is not None and not is_free(self.partners, partners.host):
            return True
        return not (is_free(self.client) and is_free(self.controller))


def choose_ports(
    folder: Path, wish: int | None, partners: PartnerListener | None, claims: PortClaims
) -> BrokerPorts:
    """Returns those of the last time if they are free: clients remember them. ``wish``, and the
    port that ``partners`` names, go before those."""
    file = folder / "ports.json"
    try:
        last = msgspec.json.decode(file.read_bytes(), type=BrokerPorts)
    except (FileNotFoundError, msgspec.DecodeError):
        last = BrokerPorts(_DEFAULT_PORT, 0)
    ports = BrokerPorts(
        claims.take(wish or last.client),
        claims.take(last.controller),
        _partner_port(partners, last, claims) if partners is not None else last.partners,
    )
    write_atomically(file, msgspec.json.encode(ports))
    return ports


def _partner_port(partners: PartnerListener, last: BrokerPorts, claims: PortClaims) -> int:
    return claims.take(partners.port or last.partners or _DEFAULT_PARTNER_PORT, partners.host)

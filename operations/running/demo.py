"""Fills an installation for ``lockstream up --demo``: an organisation, a lock, a key, a partner.
Writes the command line that uses them."""

import contextlib
import shlex
from datetime import UTC, datetime, timedelta

import msgspec

from eventlog.registry import Registry
from operations.locks.creation import ensure_lock
from operations.locks.files import LockLine
from operations.organizations.keys import create_key
from operations.organizations.organizations import ensure_organization
from operations.organizations.signing import mint_token
from operations.partners.credentials import LIVE, Issued, credential_states, issue_credential
from operations.partners.registration import create_partner
from operations.shared.console import say
from operations.shared.installation import Installation, open_installation
from runtime.errors import ConfigurationError, KafkaRefused
from runtime.files import write_atomically
from runtime.settings import Settings
from schemas.api_keys import is_valid, key_id_of
from schemas.primitives import default_lock_uuid

DEMO_ORG, DEMO_LOCK, DEMO_PARTNER = "demo", 123, "demo-partner"
DEMO_TOKEN_LIFETIME = timedelta(hours=24)


class DemoData(msgspec.Struct, frozen=True):
    """Holds the demo's secrets. ``partner``: None on a cluster without an authorizer."""

    token: str
    api_key: str
    partner: Issued | None

    def variables(self, settings: Settings) -> dict[str, object]:
        """Returns what ``demo.env`` says of the demo."""
        values: dict[str, object] = {
            "TOKEN": self.token,
            "API_KEY": self.api_key,
            "LOCK_ID": DEMO_LOCK,
            "LOCK_UUID": default_lock_uuid(DEMO_LOCK),
            "ORG_ID": DEMO_ORG,
            "PARTNER_ID": DEMO_PARTNER,
            "PARTNER_TOPIC": settings.topics.partner_events(DEMO_PARTNER),
        }
        if self.partner is not None and settings.partner_bootstrap_servers:
            values |= {
                "PARTNER_BOOTSTRAP_SERVERS": settings.partner_bootstrap_servers,
                "PARTNER_USERNAME": self.partner.user,
                "PARTNER_PASSWORD": self.partner.password,
                "PARTNER_CA": settings.partner_ca,
            }
        return values

    @property
    def headers(self) -> dict[str, str]:
        """Returns the headers that say who asks, and for which organisation."""
        return {"Authorization": f"Bearer {self.token}", "X-API-Key": self.api_key}

    def curl_line(self, base_url: str, tls_cert: str) -> str:
        """Returns a shell command that uses the temporary key."""
        credentials = "".join(f"-H '{name}: {value}' " for name, value in self.headers.items())
        trust = f"--cacert {shlex.quote(tls_cert)} " if tls_cert else ""
        return (
            f"curl -X POST {trust}'{base_url}/locks/{DEMO_LOCK}/use-temp-key' "
            f"-H 'Content-Type: application/json' "
            f"{credentials}"
            '-d \'{"tempKeyUuid": "example_string", "userId": "example_string"}\''
        )


async def set_up_demo(settings: Settings) -> DemoData:
    """Makes what is not there yet.

    Raises:
        Unavailable: Kafka or the read model can't be reached.
    """
    async with open_installation(settings, "lockstream-up") as here:
        await ensure_organization(here, DEMO_ORG)
        await ensure_lock(here, LockLine(DEMO_LOCK, DEMO_ORG, None))
        registry = await here.read_registry()
        if registry.partner(DEMO_PARTNER) is None:
            await create_partner(here, DEMO_PARTNER, DEMO_ORG, ("*",), "earliest")
        api_key = await _demo_key(here, registry)
        partner = await _demo_credential(here)
    token = mint_token(settings, subject="demo-user", org_id=None, lifetime=DEMO_TOKEN_LIFETIME)
    return DemoData(token=token, api_key=api_key, partner=partner)


async def _demo_key(here: Installation, registry: Registry) -> str:
    """Returns the key of the last run if it is still valid, else a new one."""
    # From a file: the registry holds only the key's hash.
    file = here.settings.state_dir / "demo-api-key"
    with contextlib.suppress(FileNotFoundError):
        key = file.read_text().strip()
        entry = registry.api_key(key_id_of(key) or "")
        if is_valid(key, entry, datetime.now(UTC)):
            return key
    _, key = await create_key(here, DEMO_ORG, None)
    write_atomically(file, key.encode(), mode=0o600)
    return key


async def _demo_credential(here: Installation) -> Issued | None:
    """Returns the demo partner's user of the last time if it still works, else a new one."""
    # From a file: nobody but the partner has its password.
    file = here.settings.state_dir / "demo-partner-credential.json"
    try:
        states = await credential_states(here, DEMO_PARTNER)
        live = {one.credential.user for one in states if one.state == LIVE}
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            kept = msgspec.json.decode(file.read_bytes(), type=Issued)
            if kept.user in live:
                return kept
        issued = await issue_credential(here, DEMO_PARTNER)
    except (ConfigurationError, KafkaRefused) as error:
        say(f"the demo's partner has no user of its own: {error}")
        return None
    write_atomically(file, msgspec.json.encode(issued), mode=0o600)
    return issued

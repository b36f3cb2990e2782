"""Issues and revokes the users under which partners log in to Kafka.

The registry says which users there are; Kafka has their passwords and rules. Each step can be run
again. A partner is removed before its users are, and a user is looked up again after it was made:
whichever comes later takes it away.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.acls import principal_of
from eventlog.clients.access_admin import AccessAdmin
from eventlog.registry import Registry
from operations.partners.boundary import check_apart, next_user, partner_acls
from operations.partners.entries import live_ids, live_partner, no_such_partner
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.primitives import write_time
from schemas.registry import Partner, PartnerCredential

MOST_LIVE = 10
PASSWORD_BYTES = 32
LIVE = "live"


class Issued(msgspec.Struct, frozen=True):
    user: str
    password: str


class UserState(msgspec.Struct, frozen=True):
    """Says how a user stands. ``has_password``, ``has_rules``: what Kafka knows of it."""

    credential: PartnerCredential
    has_password: bool
    has_rules: bool

    @property
    def state(self) -> str:
        if self.credential.revoked_at is not None:
            left = self.has_password or self.has_rules
            return "not fully revoked: revoke it again" if left else "revoked"
        works = self.has_password and self.has_rules
        return LIVE if works else "unusable: revoke it, and issue another"


async def issue_credential(here: Installation, partner_id: str) -> Issued:
    """Makes a user for the partner; returns its name and its password, which nobody else knows.

    Raises:
        ConfigurationError: there is no such partner, or it has too many users.
        KafkaRefused: the cluster has no authorizer, or we may not.
        KafkaUnavailable: it can't be reached in time; a user that was begun is of no use.
    """
    async with here.kafka.access_admin() as access:
        await access.acls(principal_of(partner_id))  # before anything is written
        entry = await _register(here, partner_id)
        user = entry.credentials[-1].user
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        await access.allow(partner_acls(here.settings.topics, partner_id, user))
        await access.set_read_rate({user: _rate(here, entry)})
        await access.set_password(user, password)
        now = (await here.read_registry()).partner(partner_id)
        if now is None or user not in now.users:
            await _end_users(access, [user])
            raise ConfigurationError(
                f"partner {partner_id} was removed, or {user} revoked, at the same time"
            )
    return Issued(user, password)


async def _register(here: Installation, partner_id: str) -> Partner:
    """Writes down a new user of the partner; returns the partner's new entry."""
    issued_at = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[Partner]:
        entry = live_partner(registry, partner_id)
        check_apart(partner_id, live_ids(registry, but=partner_id))
        if len(entry.users) >= MOST_LIVE:
            raise ConfigurationError(
                f"partner {partner_id} has {MOST_LIVE} users; `lockstream partner credentials "
                f"revoke --id {partner_id} --user …` one first"
            )
        user = next_user(here.settings.topics, entry)
        credentials = (*entry.credentials, PartnerCredential(user, issued_at))
        return [msgspec.structs.replace(entry, credentials=credentials)]

    (entry,) = await here.edit_registry(edit)
    return entry


async def hold_to_rate(here: Installation, entry: Partner) -> None:
    """Lets the partner's users read as much a second as its entry says, or else the settings.

    Raises:
        KafkaRefused: we may not.
        KafkaUnavailable: the broker can't be reached in time.
    """
    if entry.users:
        async with here.kafka.access_admin() as access:
            await access.set_read_rate(dict.fromkeys(entry.users, _rate(here, entry)))


def _rate(here: Installation, entry: Partner) -> float | None:
    rate = entry.max_rate or here.settings.partner_max_rate
    return float(rate) if rate else None


async def credential_states(here: Installation, partner_id: str) -> Sequence[UserState]:
    """Returns how each of the partner's users stands, removed partners' too.

    Raises:
        ConfigurationError: there has never been such a partner.
        KafkaRefused: as ``issue_credential``.
        KafkaUnavailable: the broker can't be reached in time.
    """
    entry = (await here.read_registry()).partner(partner_id)
    if entry is None:
        raise no_such_partner(partner_id)
    async with here.kafka.access_admin() as access:
        users = await access.users([one.user for one in entry.credentials])
        return [
            UserState(one, one.user in users, bool(await access.acls(principal_of(one.user))))
            for one in entry.credentials
        ]


async def revoke_credentials(
    here: Installation, partner_id: str, user: str | None
) -> Sequence[str]:
    """Takes a user of the partner, or all of them, what it may do and its password. Whoever is
    connected under it is refused at the next request. Returns their names.

    Raises:
        ConfigurationError: there is no such partner, or it never had such a user.
        KafkaRefused: as ``issue_credential``.
        KafkaUnavailable: the broker can't be reached in time; revoke again.
    """
    revoked_at = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[Partner]:
        entry = registry.partner(partner_id)
        known = [one.user for one in entry.credentials] if entry is not None else []
        if entry is None or (user is not None and user not in known):
            raise ConfigurationError(
                f"partner {partner_id} has no user {user or 'at all'}; "
                f"`lockstream partner credentials list --id {partner_id}` shows them"
            )
        credentials = tuple(
            msgspec.structs.replace(one, revoked_at=one.revoked_at or revoked_at)
            if user in (None, one.user)
            else one
            for one in entry.credentials
        )
        return [msgspec.structs.replace(entry, credentials=credentials)]

    async with here.kafka.access_admin() as access:
        await access.acls(principal_of(partner_id))
        (entry,) = await here.edit_registry(edit)
        ended = [one.user for one in entry.credentials if user in (None, one.user)]
        await _end_users(access, ended)
    return ended


async def _end_users(access: AccessAdmin, users: Sequence[str]) -> None:
    # The rules first: they hold for those who are connected, a password only for who comes.
    await access.allow_nothing(principal_of(user) for user in users)
    await access.remove_users(users)
    if users:
        await access.set_read_rate(dict.fromkeys(users))

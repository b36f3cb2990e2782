"""Changes who may log in, and who may do what."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from eventlog.access_requests import (
    AlterQuota,
    AlterUsers,
    AskAcls,
    AskUsers,
    CreateAcls,
    DeleteAcls,
)
from eventlog.acls import Acl
from eventlog.clients.admin import Admin
from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.kafka_errors import error_of, kafka_errors
from runtime.errors import KafkaUnavailable
from runtime.waiting import within

KNOWN_PAUSE_S = 0.02
SALT_BYTES = 16
NO_SUCH_USER = 91
"""RESOURCE_NOT_FOUND."""


class AccessAdmin(Admin):
    """Asks and changes as ``Admin`` does. ``KafkaRefused`` also says that the cluster has no
    authorizer, where rules are asked for or changed."""

    # -- users -------------------------------------------------------------------------------------

    async def users(self, names: Sequence[str]) -> set[str]:
        """Returns those of these users that have a password."""
        if not names:
            return set()
        with kafka_errors("asking for the users"):
            answer = await within(self.connections.ask_any(AskUsers(names)), REQUEST_TIMEOUT_S)
            if answer.error_code:
                raise error_of(answer.error_code, answer.text)
        return answer.users

    async def set_password(self, user: str, password: str) -> None:
        """Makes a user, or gives it another password; returns when it can log in."""
        salt = secrets.token_bytes(SALT_BYTES)
        request = await asyncio.to_thread(AlterUsers, {user: password}, salt)
        await self._alter_users(request, f"making the user {user}")

        async def known() -> bool:
            return user in await self.users([user])

        await _until(known, f"the user {user} is not known yet")

    async def remove_users(self, users: Sequence[str]) -> None:
        """Takes users' passwords away; one that has none is no error."""
        if users:
            await self._alter_users(AlterUsers({}, b"", users), "removing users")

    async def _alter_users(self, request: AlterUsers, doing: str) -> None:
        with kafka_errors(doing):
            answer = await within(self.connections.ask_any(request), REQUEST_TIMEOUT_S)
            for _, code, text in answer.results:
                if code not in (0, NO_SUCH_USER):
                    raise error_of(code, text)

    async def set_read_rate(self, rates: Mapping[str, float | None]) -> None:
        """Sets how many bytes a second each broker lets each of these users read; None: as many as
        there are."""
        with kafka_errors("changing the users' quotas"):
            question = self.connections.ask_any(AlterQuota("consumer_byte_rate", rates))
            answer = await within(question, REQUEST_TIMEOUT_S)
            for code, text, _ in answer.entries:
                if code:
                    raise error_of(code, text)

    # -- rules -------------------------------------------------------------------------------------

    async def acls(self, principal: str | None = None) -> set[Acl]:
        """Returns the rules that allow this principal, or anybody, something. Rules of kinds that
        we never make are left out."""
        with kafka_errors("asking for the access rules"):
            answer = await within(self.connections.ask_any(AskAcls(principal)), REQUEST_TIMEOUT_S)
            if answer.error_code:
                raise error_of(answer.error_code, answer.text)
        return answer.rules()

    async def allow(self, acls: Sequence[Acl]) -> None:
        """Adds rules; returns when they hold. One that is there already is no error."""
        if not acls:
            return
        with kafka_errors("adding access rules"):
            answer = await within(self.connections.ask_any(CreateAcls(acls)), REQUEST_TIMEOUT_S)
            for code, text in answer.results:
                if code:
                    raise error_of(code, text)

        principals = {acl.principal for acl in acls}

        async def known() -> bool:
            there = [await self.acls(principal) for principal in principals]
            return set(acls) <= set().union(*there)

        await _until(known, "the access rules do not hold yet")

    async def allow_nothing(self, principals: Iterable[str]) -> None:
        """Removes every rule that allows one of these principals something."""
        named = list(principals)
        if not named:
            return
        with kafka_errors("removing access rules"):
            answer = await within(self.connections.ask_any(DeleteAcls(named)), REQUEST_TIMEOUT_S)
            for code, text, _ in answer.results:
                if code:
                    raise error_of(code, text)


async def _until(holds: Callable[[], Awaitable[bool]], why: str) -> None:
    """Waits until the broker that answers us has heard of a change that its controller has made.

    Raises:
        KafkaUnavailable: it has not in time.
    """
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while not await holds():
        if time.monotonic() > deadline:
            raise KafkaUnavailable(f"{why}; try again")
        await asyncio.sleep(KNOWN_PAUSE_S)

"""Stops the API so that no request that has come is left without an answer.

Connections that were made before are still accepted, and requests on kept-alive ones are still
answered, with ``Connection: close``. Idle connections are closed last: a request that is sent into
one of them in that moment gets no answer, so nothing may just be arriving there.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from command_api.connection import GuardedConnection
from runtime.quiet_server import QuietServer
from runtime.sockets import leave_to_others

IDLE_S = 1.0
"""How long an idle connection may still bring a request after the stop."""
LOOK_EVERY_S = 0.02
HANDSHAKE_S = 0.05
"""How long handshakes that have begun get, where other workers take those that have not."""


class DrainingServer(QuietServer):
    """Answers what has come when it is told to stop, and closes idle connections last."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stop_listening(sockets or [])
        loop = asyncio.get_running_loop()
        end = loop.time() + IDLE_S
        while self._connections() and loop.time() < end:
            for connection in self._connections():
                connection.drain()
            await asyncio.sleep(LOOK_EVERY_S)
        await self._close_idle(end + IDLE_S)
        await super().shutdown(sockets)

    def _connections(self) -> list[GuardedConnection]:
        return [c for c in self.server_state.connections if isinstance(c, GuardedConnection)]

    async def _close_idle(self, end: float) -> None:
        """Closes the connections for which nothing has arrived until this very moment. The others
        get their answers first, until ``end`` of the loop's clock."""
        while True:
            idle = [c for c in self._connections() if c.idle and not c.transport.is_closing()]
            for connection in idle:
                if not connection.unread:
                    connection.shutdown()
            if not idle or asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(0)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Closes the sockets, but first accepts what the kernel has connected already: it would
        reset those connections, with what they have sent."""
        accepting = [
            socket.socket(fileno=os.dup(listener.fileno()))
            for server in self.servers
            for listener in server.sockets
        ]
        # Who asks between our last look and the end of the socket would be reset.
        if [listener for listener in accepting if leave_to_others(listener)]:
            await asyncio.sleep(HANDSHAKE_S)
        for server in self.servers:
            server.close()
        for bound in sockets:
            bound.close()
        for _ in range(3):
            await asyncio.sleep(0)  # the loop releases them some turns later
        connected: list[socket.socket] = []
        for listener in accepting:
            listener.setblocking(False)
            with listener, suppress(OSError):
                while True:
                    connected.append(listener.accept()[0])
        for connection in connected:
            with suppress(OSError):
                await self._take(connection)

    async def _take(self, connection: socket.socket) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        make: Callable[..., asyncio.Protocol] = config.http_protocol_class
        _, taken = await loop.connect_accepted_socket(
            lambda: make(
                config=config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=loop,
            ),
            connection,
            ssl=config.ssl,
        )
        if isinstance(taken, GuardedConnection):
            taken.drain()

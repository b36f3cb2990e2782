"""Passes TCP on to a broker, and can spoil it: delay, cut, reset, half close. Knows enough of
Kafka's protocol to hold back the answers to EndTxn alone."""

import asyncio
import struct
from contextlib import suppress

CONNECT_S = 5.0
END_TXN = 26
"""The key of EndTxn among Kafka's requests (KIP-98)."""


class Link:
    """Listens on ``port`` of 127.0.0.1 and passes everything on to ``target_port``."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.delay_s = 0.0
        """Added to every message, either way."""
        self.end_txn_delay_s = 0.0
        """Added to the answers to EndTxn; what comes behind one on its connection waits too."""
        self.end_txn_delayed = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()

    def cut(self) -> None:
        """Lets nothing through any more, and tells nobody."""
        self._flowing.clear()

    def mend(self) -> None:
        """Undoes everything but closed connections. What was held back goes on its way."""
        self._flowing.set()
        self.delay_s = 0.0
        self.end_txn_delay_s = 0.0

    def reset(self) -> None:
        """Ends every connection at once, as a firewall does that forgets them."""
        for connection in list(self._connections):
            connection.abort()

    def half_close(self) -> None:
        """Lets the client still send, and nothing come back: the broker's side has ended."""
        for connection in list(self._connections):
            connection.half_close()

    async def until_flowing(self) -> None:
        await self._flowing.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                broker = await asyncio.open_connection("127.0.0.1", self._target_port)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), broker)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    def __init__(self, link: Link, client: Stream, broker: Stream) -> None:
        self._link = link
        self._client = client
        self._broker = broker
        self._end_txns: set[int] = set()

    async def run(self) -> None:
        """Returns when either side has gone."""
        pumps = (asyncio.create_task(self._requests()), asyncio.create_task(self._answers()))
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.abort()

    def abort(self) -> None:
        for _, writer in (self._client, self._broker):
            writer.transport.abort()

    def half_close(self) -> None:
        with suppress(OSError):
            self._client[1].write_eof()

    async def _requests(self) -> None:
        reader, writer = self._client[0], self._broker[1]
        while (message := await _read_message(reader)) is not None:
            api_key, _, correlation = struct.unpack_from(">hhi", message, 4)
            if api_key == END_TXN:
                self._end_txns.add(correlation)
            await self._pass_on(message, writer)

    async def _answers(self) -> None:
        reader, writer = self._broker[0], self._client[1]
        while (message := await _read_message(reader)) is not None:
            (correlation,) = struct.unpack_from(">i", message, 4)
            if correlation in self._end_txns:
                self._end_txns.discard(correlation)
                if self._link.end_txn_delay_s:
                    self._link.end_txn_delayed += 1
                    await asyncio.sleep(self._link.end_txn_delay_s)
            await self._pass_on(message, writer)

    async def _pass_on(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        if self._link.delay_s:
            await asyncio.sleep(self._link.delay_s)
        await self._link.until_flowing()
        with suppress(OSError):
            writer.write(message)
            await writer.drain()


async def _read_message(reader: asyncio.StreamReader) -> bytes | None:
    """Returns one length-prefixed message, prefix included; None when the sender has gone."""
    try:
        prefix = await reader.readexactly(4)
        return prefix + await reader.readexactly(int.from_bytes(prefix, "big"))
    except (OSError, asyncio.IncompleteReadError):
        return None

"""What a call takes is the service's time, not that of the suite's own client."""

import asyncio
from random import Random

from chaos.clients import Callers

ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
CALLS = 20


async def test_no_call_waits_for_the_connection_of_another() -> None:
    """Kept-alive connections that become idle are given to several at once, who queue anew."""
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    callers = Callers(lambda: [url], {1: {}}, Random(0), 1.0)
    async with server:
        for _ in range(2):
            await asyncio.gather(*(callers.probe(1) for _ in range(CALLS)))
        await callers.stop()
    assert connections == 2 * CALLS

"""Serves HTTP within a role: uvicorn without its signal handlers, on sockets that listen
already."""

import asyncio
import socket

import uvicorn

from runtime.waiting import first_of


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the role it is part of."""

    async def serve_until(self, stop: asyncio.Event, sockets: list[socket.socket]) -> None:
        """Serves on sockets that listen already until ``stop`` is set, then drains."""
        ended = asyncio.Event()
        serving = asyncio.create_task(self._serve(sockets))
        serving.add_done_callback(lambda _: ended.set())
        try:
            await first_of(ended, stop)
        finally:
            # Cancelled or not: it must close its sockets.
            self.should_exit = True
            await serving

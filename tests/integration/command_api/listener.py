"""The API's own listener and admission before a few routes, and raw sockets to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from command_api.admission import Admission, InFlight
from command_api.listening import listen, names
from command_api.metrics import ApiMetrics
from command_api.observation import Observation
from command_api.routes import Routes
from runtime.health import health_routes
from runtime.ports import free_port
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import NoTracing

DEADLINE_S = 20.0


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


class Listener:
    """``seen``: the requests that reached the application; ``held``: lets ``/held`` answer;
    ``stop``: as SIGTERM would."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seen: list[Request] = []
        self.held = asyncio.Event()
        self.stop = asyncio.Event()
        self._connections: list[RawConnection] = []
        routes = [
            Route("/body", self._body, methods=["POST"]),
            Route("/unread", self._unread, methods=["GET", "POST"]),
            Route("/held", self._held, methods=["GET"]),
            Route("/broken", self._broken, methods=["GET"]),
        ]
        routes += health_routes(Readiness(), dict)
        self.in_flight = InFlight(settings.max_in_flight)
        admission = Admission(
            Routes(routes),
            self.in_flight,
            settings.receipt_timeout,
            names(settings.trusted_hosts),
        )
        self.served = Observation(admission, routes, ApiMetrics(Readiness()), NoTracing(), None)

    async def _body(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append(request)
        return Response(body, media_type="application/octet-stream")

    async def _unread(self, request: Request) -> Response:
        self.seen.append(request)
        client = request.client.host if request.client else None
        return JSONResponse({"client": client, "scheme": request.url.scheme})

    async def _held(self, request: Request) -> Response:
        await self.held.wait()
        return JSONResponse({"held": False})

    async def _broken(self, request: Request) -> Response:
        raise RuntimeError("a secret of /var/lib")

    async def connect(self, tls: ssl.SSLContext | None = None) -> "RawConnection":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.api_port, ssl=tls)
        self._connections.append(RawConnection(reader, writer))
        return self._connections[-1]

    async def hang_up(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def ask(self, request: bytes, tls: ssl.SSLContext | None = None) -> Answer:
        """Sends bytes over a connection of their own; returns the one answer."""
        connection = await self.connect(tls)
        await connection.send(request)
        return await connection.answer()


class RawConnection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(DEADLINE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """All that still comes until the other side closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def listening(settings: Settings, port: int = 0) -> AsyncIterator[Listener]:
    chosen = msgspec.structs.replace(settings, api_port=port or free_port(0))
    listener = Listener(chosen)
    serving = asyncio.create_task(listen(listener.served, chosen, listener.stop))
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not serving.done():
                try:
                    await listener.connect()
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        yield listener
    finally:
        await listener.hang_up()
        listener.held.set()
        listener.stop.set()
        await serving

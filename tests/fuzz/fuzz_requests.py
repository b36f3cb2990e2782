"""A fuzz target: bytes as a connection gets them, and headers and body as a command is read from
them. Run by ``test_fuzz.py``, or for as long as you like:

    .venv/bin/python -m tests.fuzz.fuzz_requests -dict=tests/fuzz/http.dict FOLDER

It ends with a crash if anything but a value or a refusal comes out.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["lockstream", "uvicorn.protocols"]):
    from command_api.connection import MAX_HEAD_BYTES, connection_class
    from command_api.errors import ErrorContext, InvalidRequest, error_response
    from command_api.requests import UseTempKey, read_use_temp_key

import msgspec
from uvicorn import Config
from uvicorn.server import ServerState

from runtime.errors import CommandRefused

JSON_TYPE = ("content-type", "application/json")
Message = dict[str, Any]


def read_command(data: bytes) -> None:
    """A lock id, header lines, an empty line and a body to a command: a value that is read the same
    again, or the refusal."""
    head, _, body = data.partition(b"\n\n")
    lock_id, *lines = head.decode("latin-1").split("\n")
    headers = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
    command = _command_or_refusal(lock_id, headers, body)
    if isinstance(command, CommandRefused):
        accept = dict(headers).get("accept", "")
        assert not isinstance(command, InvalidRequest) or command.details
        assert 400 <= error_response(ErrorContext(accept), command).status_code < 500
        return
    again = [JSON_TYPE]
    if command.idempotency_key is not None:
        again.append(("idempotency-key", _quoted(command.idempotency_key)))
    if command.trace.traceparent is not None:
        again.append(("traceparent", command.trace.traceparent.decode()))
    use = msgspec.json.encode(command.use)
    assert _command_or_refusal(str(command.lock_id), again, use) == command


def _command_or_refusal(
    lock_id: str, headers: list[tuple[str, str]], body: bytes
) -> UseTempKey | CommandRefused:
    try:
        return read_use_temp_key(lock_id, [], headers, body)
    except CommandRefused as refused:
        return refused


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Wire(asyncio.Transport):
    """The other end of a connection: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def answer(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """An application: what reaches it has one Host, a bounded head, and no trailer among it."""
    names = [name for name, _ in scope["headers"]]
    assert names.count(b"host") <= 1
    assert not (b"transfer-encoding" in names and b"content-length" in names)
    assert sum(len(name) + len(value) for name, value in scope["headers"]) <= MAX_HEAD_BYTES
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    assert [name for name, _ in scope["headers"]] == names
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body", "body": b""})


class Connections:
    """Feeds connections of the real class with the bytes, in pieces."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._config = Config(answer, http=connection_class(60.0), ws="none", log_config=None)
        self._config.load()
        self.faults: list[object] = []
        self._loop.set_exception_handler(lambda _, context: self.faults.append(context))

    def feed(self, data: bytes) -> None:
        self._loop.run_until_complete(self._feed(data))
        assert self.faults == []

    async def _feed(self, data: bytes) -> None:
        piece, sent = 1 + sum(data[:1]), data[1:]
        state = ServerState()
        connection = connection_class(60.0)(
            config=self._config, server_state=state, app_state={}, _loop=self._loop
        )
        wire = Wire()
        connection.connection_made(wire)
        for begin in range(0, len(sent), piece):
            if wire.closed:
                break
            connection.data_received(sent[begin : begin + piece])
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await asyncio.gather(*state.tasks)
        assert not wire.written or wire.written.startswith(b"HTTP/1.1 ")
        assert b" 500 " not in wire.written


def main() -> None:
    connections = Connections()

    def one_input(data: bytes) -> None:
        if data[:1] < b"\x80":
            read_command(data[1:])
        else:
            connections.feed(data[1:])

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

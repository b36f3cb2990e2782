"""Real clients, as they are without any option, get through with a body. What they offer on the
way (``Upgrade: h2c``, ``Expect``, encodings) is theirs to offer and ours to ignore."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.integration.command_api.listener import Listener, listening

BODY = '{"tempKeyUuid":"x"}'
TIMEOUT_S = 90

JAVA = """
import java.net.URI;
import java.net.http.*;
public class Client {
  public static void main(String[] urls) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    for (int i = 0; i < 2; i++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(urls[0]))
          .POST(HttpRequest.BodyPublishers.ofString("{\\"tempKeyUuid\\":\\"x\\"}")).build();
      var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.body());
    }
  }
}
"""
NODE = """
for (let i = 0; i < 2; i++) {
  const answer = await fetch(process.argv[2], {method: "POST", body: '{"tempKeyUuid":"x"}'});
  console.log(answer.status, await answer.text());
}
"""
CURL = ["-sS", "-w", "%{http_code}", "--data", BODY]

CLIENTS: dict[str, tuple[list[str], str, str]] = {
    "java": (["java", "Client.java"], "Client.java", JAVA),
    "node": (["node", "client.mjs"], "client.mjs", NODE),
    "curl": (["curl", *CURL], "", ""),
    "curl --http2": (["curl", "--http2", *CURL], "", ""),
    "curl, expecting 100": (["curl", "-H", "Expect: 100-continue", *CURL], "", ""),
}


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening(Settings()) as listener:
        yield listener


@pytest.mark.timeout(120)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_with_its_defaults_gets_its_body_through(
    listener: Listener, client: str, tmp_path: Path
) -> None:
    command, file, source = CLIENTS[client]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if file:
        await asyncio.to_thread((tmp_path / file).write_text, source)
    url = f"http://127.0.0.1:{listener.settings.api_port}/body"
    process = await asyncio.create_subprocess_exec(
        *command, url, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    times = 1 if command[0] == "curl" else 2
    expected = f"{BODY}200" if command[0] == "curl" else f"200 {BODY}\n" * times
    assert output.decode() == expected
    assert len(listener.seen) == times

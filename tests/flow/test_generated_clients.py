"""Clients that others generate from ``/openapi.json``: they compile, and do what they say."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

GENERATOR = "org.openapitools:openapi-generator-cli:7.17.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lockstream-tests"
LOCK_ID = 2**53 + 3
PATIENCE_S = 400  # the first run fetches the generator, 30 MB

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)

Generate = Callable[..., Path]


class RunningSystem(Protocol):
    env: dict[str, str]

    def lockstream(self, *arguments: str) -> str: ...


def needed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(
    arguments: Sequence[str | Path], folder: Path, variables: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def fetched_generator() -> Path:
    from jgo.maven import MavenContext, PythonResolver

    maven = MavenContext(repo_cache=CACHE, resolver=PythonResolver(), timeout=60)
    try:
        return Path(maven.create_dependency(GENERATOR).artifact.resolve()).absolute()
    except (RuntimeError, ValueError, OSError) as error:
        pytest.skip(f"{GENERATOR} can't be fetched: {error}")


@pytest.fixture
def generate(running_system: RunningSystem, tmp_path: Path) -> Generate:
    def make(language: str, *options: str) -> Path:
        needed("java")
        jar = fetched_generator()
        description, client = tmp_path / "openapi.json", tmp_path / "client"
        with urllib.request.urlopen(running_system.env["BASE_URL"] + "/openapi.json") as answer:
            description.write_bytes(answer.read())
        paths = ("-i", str(description), "-g", language, "-o", str(client))
        run(["java", "-jar", jar, "generate", *paths, *options], tmp_path)
        return client

    return make


GO_CALLER = """package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"

	lockstream "github.com/example/lockstream"
)

func main() {
	configuration := lockstream.NewConfiguration()
	configuration.Servers = lockstream.ServerConfigurations{{URL: os.Getenv("BASE_URL")}}
	configuration.AddDefaultHeader("X-API-Key", os.Getenv("API_KEY"))
	configuration.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("TOKEN"))
	client, ctx := lockstream.NewAPIClient(configuration), context.Background()
	id, _ := strconv.ParseInt(os.Getenv("LOCK_ID"), 10, 64)
	use := *lockstream.NewTempKeyUse("key-1")
	recorded, _, err := client.CommandsAPI.UseTempKey(ctx, id).TempKeyUse(use).Execute()
	check(err)
	lock, _, err := client.ReadingAPI.ShowLock(ctx, id).MinVersion(recorded.Version).Execute()
	check(err)
	page, _, err := client.ReadingAPI.ListEvents(ctx, id).AfterVersion(0).Limit(2).Execute()
	check(err)
	_, missing, _ := client.ReadingAPI.ShowLock(ctx, math.MaxInt64).Execute()
	text, _ := json.Marshal(map[string]any{
		"version":   recorded.Version,
		"event":     recorded.Event,
		"lockId":    lock.LockId,
		"updatedAt": lock.UpdatedAt.Year(),
		"listed":    page.LockId,
		"missing":   missing.StatusCode,
	})
	fmt.Println(string(text))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""


def test_a_go_client_compiles_and_calls_any_lock(
    running_system: RunningSystem, generate: Generate
) -> None:
    needed("go")
    client = generate("go", "--git-user-id", "example", "--git-repo-id", "lockstream")
    shutil.rmtree(client / "test")  # of the generator's own, with a library of theirs
    caller = client / "caller"
    caller.mkdir()
    (caller / "main.go").write_text(GO_CALLER)
    running_system.lockstream("lock", "add", "--id", str(LOCK_ID), "--org", "demo")
    offline = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    program = client / "caller.bin"
    run(["go", "build", "-o", program, "./caller"], client, offline)
    variables = {**running_system.env, "LOCK_ID": str(LOCK_ID)}
    told = json.loads(run([program], client, variables))
    assert told["event"]["data"]["lockId"] == LOCK_ID
    assert (told["lockId"], told["listed"], told["missing"]) == (LOCK_ID, LOCK_ID, 404)
    assert told["version"] > 1
    assert told["updatedAt"] > 2000

"""Clients that others generate from ``/openapi.json``: they compile, and do what they say."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

GENERATOR = "org.openapitools:openapi-generator-cli:7.17.0"
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
VALIDATOR = "gopkg.in/validator.v2@v2.0.1"
"""What a generated Go client takes to look at a union."""
NPM_PACKAGES = ("typescript@5.9.3", "openapi-typescript@7.13.0")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lockstream-tests"
LOCK_OF_GO, LOCK_OF_TYPESCRIPT = 2**53 + 3, 2**53 + 5
PATIENCE_S = 400  # the first run fetches the generator, 30 MB, and compiles Go's own library
FETCH_S = 120

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


def fetch(what: str, arguments: Sequence[str | Path], folder: Path) -> None:
    """Runs what asks a registry for a package, unless it is there already."""
    try:
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} can't be fetched: no answer within {FETCH_S} s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        pytest.skip(f"{what} can't be fetched: {said[0][:200]}")


def fetched_generator() -> Path:
    from jgo.maven import MavenContext, PythonResolver

    maven = MavenContext(repo_cache=CACHE, resolver=PythonResolver(), timeout=60)
    try:
        return Path(maven.create_dependency(GENERATOR).artifact.resolve()).absolute()
    except (RuntimeError, ValueError, OSError) as error:
        pytest.skip(f"{GENERATOR} can't be fetched: {str(error)[:200]}")


def fetched_npm_packages() -> Path:
    """The folder of the packages' programs."""
    needed("npm", "node")
    tools = CACHE / "npm" / "+".join(NPM_PACKAGES)
    if not tools.exists():
        tools.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tools.parent) as name:
            folder = Path(name) / "tools"
            folder.mkdir()
            quiet = ("--no-save", "--ignore-scripts", "--no-audit", "--no-fund")
            fetch(
                " and ".join(NPM_PACKAGES),
                ["npm", "install", "--fetch-retries=0", *quiet, *NPM_PACKAGES],
                folder,
            )
            with suppress(FileExistsError):  # another run was quicker
                folder.rename(tools)
    return tools / "node_modules" / ".bin"


@pytest.fixture
def description(running_system: RunningSystem, tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    with urllib.request.urlopen(running_system.env["BASE_URL"] + "/openapi.json") as answer:
        file.write_bytes(answer.read())
    return file


@pytest.fixture
def generate(description: Path, tmp_path: Path) -> Generate:
    def make(language: str, *options: str) -> Path:
        needed("java")
        jar, client = fetched_generator(), tmp_path / "client"
        paths = ("-i", str(description), "-g", language, "-o", str(client))
        run(["java", *QUICK_START, "-jar", jar, "generate", *paths, *options], tmp_path)
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
		"created":   page.Events[0].Data.LockCreatedData.OrgId,
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
    run(["go", "mod", "edit", f"-require={VALIDATOR}"], client)
    fetch(VALIDATOR, ["go", "mod", "download", VALIDATOR], client)
    running_system.lockstream("lock", "add", "--id", str(LOCK_OF_GO), "--org", "demo")
    offline = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    program = client / "caller.bin"
    # -trimpath: what was compiled once is found again, though the folder is another each time.
    run(["go", "build", "-trimpath", "-o", program, "./caller"], client, offline)
    variables = {**running_system.env, "LOCK_ID": str(LOCK_OF_GO)}
    told = json.loads(run([program], client, variables))
    assert told["event"]["data"]["lockId"] == LOCK_OF_GO
    assert (told["lockId"], told["listed"], told["missing"]) == (LOCK_OF_GO, LOCK_OF_GO, 404)
    assert told["version"] > 1
    assert told["updatedAt"] > 2000
    assert told["created"] == "demo"


TYPESCRIPT_CALLER = """
import { CommandsApi, Configuration, ReadingApi, ResponseError } from "./index";

declare const process: { env: Record<string, string> };
const { BASE_URL, API_KEY, TOKEN, LOCK_ID } = process.env;
const access = { apiKey: API_KEY, accessToken: TOKEN };
const configuration = new Configuration({ basePath: BASE_URL, ...access });
const reading = new ReadingApi(configuration);
// A `number` holds no id above 2^53: its text goes through as it is.
const id = LOCK_ID as unknown as number;

async function main(): Promise<void> {
  const tempKeyUse = { tempKeyUuid: "key-1" };
  const answer = await new CommandsApi(configuration).useTempKeyRaw({ id, tempKeyUse });
  const text = await answer.raw.clone().text();
  const recorded = await answer.value();
  const data = recorded.event.data;
  const lock = await reading.showLock({ id, minVersion: recorded.version });
  const created = (await reading.listEvents({ id, limit: 2 })).events[0].data;
  const none = reading.showLock({ id: 1e15 });
  const missing = await none.catch((e: ResponseError) => e.response.status);
  console.log(JSON.stringify({
    text,
    version: recorded.version,
    usedCount: data.type === "TempKeyUsed" ? data.usedCount : 0,
    lockUuid: data.lockUuid,
    aggregateId: lock.aggregateId,
    updatedAt: lock.updatedAt.getFullYear(),
    created: created.type === "LockCreated" ? created.orgId : "",
    missing,
  }));
}

main();
"""
STRICT = ("--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "commonjs")


def test_a_typescript_client_compiles_and_calls_any_lock_by_its_text(
    running_system: RunningSystem, generate: Generate
) -> None:
    programs = fetched_npm_packages()
    client = generate("typescript-fetch")
    (client / "caller.ts").write_text(TYPESCRIPT_CALLER)
    running_system.lockstream("lock", "add", "--id", str(LOCK_OF_TYPESCRIPT), "--org", "demo")
    build = ("--skipLibCheck", "--outDir", "built", "caller.ts")
    run([programs / "tsc", *STRICT, *build], client)
    variables = {**running_system.env, "LOCK_ID": str(LOCK_OF_TYPESCRIPT)}
    told = json.loads(run(["node", "built/caller.js"], client, variables))
    lock = json.loads(running_system.lockstream("lock", "show", str(LOCK_OF_TYPESCRIPT), "--json"))
    assert json.loads(told["text"])["event"]["data"]["lockId"] == LOCK_OF_TYPESCRIPT
    assert told["lockUuid"] == told["aggregateId"] == lock["aggregateId"]
    assert told["version"] > 1
    assert told["updatedAt"] > 2000
    assert (told["usedCount"], told["created"], told["missing"]) == (1, "demo", 404)


# Else it makes required in a request what has a default.
TYPES = ("--default-non-nullable", "false")
TYPES_USER = """
import type { components, paths } from "./types";

type Data = components["schemas"]["EventBody"]["data"];
type Use = paths["/locks/{id}/use-temp-key"]["post"]["requestBody"]["content"]["application/json"];

export const use: Use = { tempKeyUuid: "key-1" };
export const usedCount = (data: Data): number => (data.type === "TempKeyUsed" ? data.usedCount : 0);
"""


def test_typescript_types_of_the_description_tell_events_apart(
    description: Path, tmp_path: Path
) -> None:
    programs = fetched_npm_packages()
    run([programs / "openapi-typescript", description, "-o", "types.d.ts", *TYPES], tmp_path)
    (tmp_path / "user.ts").write_text(TYPES_USER)
    run([programs / "tsc", *STRICT, "--noEmit", "user.ts"], tmp_path)

"""Schemathesis asks the running service everything that its description allows, and more."""

import json
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem

CONFIG = Path(__file__).with_name("schemathesis.toml")
CASES = 2_000
EXAMPLES = 800
SEED = 20261127
"""The same cases each time: what fails is the change's doing. Another seed, by hand, asks more."""


@pytest.mark.timeout(900)
def test_no_case_of_schemathesis_finds_a_fault_and_all_that_was_accepted_is_recorded(
    tmp_path: Path,
) -> None:
    # Waiting in vain for a version is asked for often; it need not take two seconds each time.
    system = RunningSystem(tmp_path / "state", {"LOCKSTREAM_ANSWER_TIMEOUT": "0.3"})
    with ExitStack() as stack:
        stack.callback(system.end)
        system.start()
        caller = stack.enter_context(closing(Caller(system.env)))
        before = caller.get("/locks/123").json()["version"]
        report, exchanges = run_schemathesis(caller, tmp_path)
        assert report["test_cases"]["generated"] >= CASES
        assert report["operations"]["tested"] == report["operations"]["total"] == 4
        accepted = {event_id for exchange in exchanges if (event_id := accepted_event(exchange))}
        assert len(accepted) > 100
        after = before + len(accepted)
        assert caller.get(f"/locks/123?minVersion={after}").json()["version"] == after
        system.lockstream("verify")


def run_schemathesis(caller: Caller, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns its report and all exchanges; fails the test if it finds a fault."""
    options = [f"--header={name}:{value}" for name, value in caller.credentials.items()]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={CONFIG}",
            "run",
            caller.env["BASE_URL"] + "/openapi.json",
            *options,
            "--checks=all",
            f"--max-examples={EXAMPLES}",
            f"--seed={SEED}",
            "--no-color",
            "--output-sanitize=false",
            "--report=json,har",
            f"--report-json-path={folder / 'report.json'}",
            f"--report-har-path={folder / 'exchanges.har'}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    exchanges = json.loads((folder / "exchanges.har").read_text())["log"]["entries"]
    return json.loads((folder / "report.json").read_text()), exchanges


def accepted_event(exchange: dict[str, Any]) -> str | None:
    """The id of the event that this command was promised."""
    request, response = exchange["request"], exchange["response"]
    if request["method"] != "POST" or response["status"] not in (200, 202):
        return None
    body = json.loads(response["content"]["text"])
    return str(body["event"]["id"] if response["status"] == 200 else body["eventId"])

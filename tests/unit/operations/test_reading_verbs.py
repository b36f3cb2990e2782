"""A verb that reads makes nothing, and does not answer for what it has not asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("verb", "url"),
    [("lock show 123", "sqlite:///there.db"), ("status", ""), ("verify", "")],
)
def test_without_a_read_model_a_verb_says_what_to_set_and_makes_none(
    verb: str, url: str, tmp_path: Path
) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSTREAM_")}
    done = subprocess.run(
        [sys.executable, "-m", "operations", *verb.split()],
        cwd=tmp_path,
        env={**inherited, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "READ_MODEL_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "READ_MODEL_URL" in done.stderr
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

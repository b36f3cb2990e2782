"""``lockstream schemas export``, as a person or a script runs it."""

import json
import subprocess
import sys
from pathlib import Path

from schemas.descriptions.published import PUBLISHED


def export(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "operations", "schemas", "export", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_documents_are_written_and_nothing_has_to_run(tmp_path: Path) -> None:
    done = export(tmp_path, "--to", "out/new", "--json", LOCKSTREAM_TOPIC_PREFIX="t-")
    assert (done.returncode, done.stderr) == (0, "")
    files = {Path(file).name: tmp_path / file for file in json.loads(done.stdout)["files"]}
    assert set(files) == {"openapi.json", "asyncapi.json", "asyncapi-partner.json"} | {
        f"{s.name}.json" for s in PUBLISHED
    }
    assert {file.name for file in (tmp_path / "out/new").iterdir()} == set(files)
    documents = {name: json.loads(file.read_bytes()) for name, file in files.items()}
    assert documents["openapi.json"]["openapi"].startswith("3.1")
    assert documents["asyncapi.json"]["channels"]["lockFacts"]["address"] == "t-lock-facts"
    assert export(tmp_path, "--to", "out/new").returncode == 0


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = export(tmp_path, "--to", "file")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "--to: file is not a folder" in line
    done = export(tmp_path, LOCKSTREAM_PARTITIONS="many")
    assert done.returncode == 2
    assert "LOCKSTREAM_PARTITIONS" in done.stderr.splitlines()[0]
    assert not (tmp_path / "schemas").exists()

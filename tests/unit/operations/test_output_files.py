"""What a verb writes is whole, or what was there before stays; what can't be written is said."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from operations.replay.event_files import NdjsonSink
from operations.replay.parquet_files import ParquetSink
from operations.schemas import write_documents
from operations.shared.output_files import OutputFile, whole
from runtime.errors import ConfigurationError
from schemas.lock_events import encode_event
from tests.examples_of import used_event
from tests.unit.operations.test_event_files import records_of

EVENT = encode_event(used_event())
OLD = b"yesterday's\n"
EXPORT = """
import asyncio, signal, sys, typer
from pathlib import Path
from operations.shared.installation import run_verb
from operations.shared.output_files import whole
from operations.replay.event_files import NdjsonSink
from operations.replay.parquet_files import ParquetSink
from tests.unit.operations.test_output_files import EVENT
from tests.unit.operations.test_event_files import records_of

# As on a terminal: whoever was started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def verb():
    kind = {"ndjson": NdjsonSink, "parquet": ParquetSink}[sys.argv[1]]
    with whole(kind(Path(sys.argv[2]))) as sink:
        for _ in range(int(sys.argv[3])):
            sink.write(records_of([EVENT] * 20_000))
        print("writing", file=sys.stderr, flush=True)
        if sys.argv[4] == "wait":
            await asyncio.sleep(60)

try:
    run_verb(verb)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


def export(
    kind: str, path: Path, batches: int = 1, then: str = "end", **options: object
) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", EXPORT, kind, str(path), str(batches), then]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_an_interrupted_export_leaves_what_was_there(
    tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    old = tmp_path / ("old" if kind == "ndjson" else "old/lock-events-00003.parquet")
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(OLD)
    before = left(tmp_path), left(old.parent)
    running = export(kind, tmp_path / "old", then="wait")
    assert running.stderr is not None
    assert running.stderr.readline() == b"writing\n"
    running.send_signal(number)
    rest = running.stderr.read()
    running.stderr.close()
    assert running.wait(30) == 128 + number
    assert b"Traceback" not in rest
    assert old.read_bytes() == OLD
    assert (left(tmp_path), left(old.parent)) == before


@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_a_disk_that_is_full_amid_an_export_is_one_sentence_and_leaves_what_was_there(
    tmp_path: Path, kind: str
) -> None:
    old = tmp_path / ("old" if kind == "ndjson" else "old/lock-events-00003.parquet")
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(OLD)
    before = left(tmp_path), left(old.parent)
    # A limit on the size of files stands for the disk.
    limited = ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", sys.executable, "-c", EXPORT]
    done = subprocess.run(
        [*limited, kind, str(tmp_path / "old"), "3", "end"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    (line,) = [line for line in done.stderr.splitlines() if line != b"writing"]
    assert line.startswith(b"lockstream: --out: ")
    assert done.returncode == 2
    assert old.read_bytes() == OLD
    assert (left(tmp_path), left(old.parent)) == before


def test_a_reader_that_has_seen_enough_ends_an_export_in_silence() -> None:
    running = export("ndjson", Path("-"), 20, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.read(10)
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    assert (running.wait(30), said) == (0, b"")


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/full"])
def test_a_full_stdout_is_one_sentence(path: str) -> None:
    with Path("/dev/full").open("wb") as full:
        running = export("ndjson", Path(path), 1, stdout=full)
        assert running.stderr is not None
        said = running.stderr.read().removeprefix(b"writing\n")
        running.stderr.close()
    assert running.wait(30) == 2
    assert said.count(b"\n") == 1
    assert b"No space left on device" in said


def test_stdout_pipes_and_devices_are_written_as_they_are(tmp_path: Path) -> None:
    line = EVENT + b"\n"
    target = tmp_path / "appended"
    target.write_bytes(OLD)
    for path in ("-", "/dev/stdout"):
        with target.open("ab") as appending:
            running = export("ndjson", Path(path), stdout=appending)
            assert running.wait(60) == 0
            assert running.stderr is not None
            running.stderr.close()
    content = target.read_bytes()
    assert (content.startswith(OLD), content.count(b"\n")) == (True, 40_001)

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole(NdjsonSink(pipe)) as sink:
        sink.write(records_of([EVENT] * 2))
    reader.join(10)
    assert read == [line * 2]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with whole(NdjsonSink(Path("/dev/null"))) as sink:
        sink.write(records_of([EVENT]))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there/events"
    target.write_bytes(OLD)
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    with whole(OutputFile("--out", link)) as output:
        output.write(b"new")
        assert target.read_bytes() == OLD
    assert link.is_symlink()
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o640)


@pytest.mark.parametrize("kind", [NdjsonSink, ParquetSink])
@pytest.mark.parametrize("name", ["file/events", "loop", "x" * 300])
def test_a_path_that_cannot_be_written_is_one_sentence_at_once(
    tmp_path: Path, name: str, kind: type[NdjsonSink] | type[ParquetSink]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = left(tmp_path)
    with pytest.raises(ConfigurationError, match="--out") as refusal:
        kind(tmp_path / name)
    assert "\n" not in str(refusal.value)
    assert left(tmp_path) == before


def test_a_missing_folder_and_a_folder_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        NdjsonSink(tmp_path / "missing/events")
    with pytest.raises(ConfigurationError, match="is a folder"):
        NdjsonSink(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is not a folder"):
        ParquetSink(tmp_path / "file")


def test_old_and_new_parts_never_lie_beside_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "new/export"
    for partitions in ([0, 3, 7], [3], []):
        with whole(ParquetSink(folder)) as sink:
            for partition in partitions:
                sink.write(records_of([EVENT] * 2, partition))
            if partitions == [3]:
                assert len(left(folder)) == 4 + 1
        found = [name for name in left(folder) if name.startswith("lock-events")]
        assert found == [f"lock-events-{p:05d}.parquet" for p in partitions]
        assert all(pq.read_table(folder / name).num_rows == 2 for name in found)
        if partitions == [0, 3, 7]:
            (folder / "notes.txt").write_text("somebody else's")
    assert left(folder) == ["notes.txt"]
    assert left(folder.parent) == ["export"]


def test_a_set_of_documents_is_new_or_old_as_a_whole(tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "others.json"):
        (tmp_path / name).write_bytes(OLD)
    with pytest.raises(TypeError):
        write_documents(tmp_path, {"a.json": {"n": 1}, "b.json": {"n": object()}})
    assert {(tmp_path / name).read_bytes() for name in left(tmp_path)} == {OLD}
    write_documents(tmp_path, {"a.json": {"n": 1}, "b.json": {"n": 2}})
    assert left(tmp_path) == ["a.json", "b.json", "others.json"]
    assert (tmp_path / "others.json").read_bytes() == OLD
    assert (tmp_path / "b.json").read_bytes() != OLD

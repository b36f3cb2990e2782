"""A bounded run of the fuzz target."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20
SEEDS = {
    "command": b'\x007\ncontent-type:application/json\nidempotency-key:"k"\n\n'
    b'{"tempKeyUuid":"example_string","userId":"example_string"}',
    "trace": b"\x007\ncontent-type:application/json; charset=utf-8\naccept:*/*\ntraceparent:"
    b'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\n{"tempKeyUuid":"x"}',
    "post": b"\xff\xffPOST /locks/123/use-temp-key HTTP/1.1\r\nHost: a\r\n"
    b'Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{"tempKeyUuid":"x"}',
    "chunked": b"\xff\x07POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nabc\r\n0\r\nAuthorization: Bearer t\r\n\r\n",
    "two": b"\xff\xffGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "upgrade": b"\xff\x20GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
    b"Upgrade: h2c\r\n\r\nPRI *",
}


@pytest.mark.timeout(240)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris has no wheel for this Python or this system: Linux and Python < 3.14 only",
)
def test_no_bytes_get_anything_but_a_value_or_a_refusal(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, seed in SEEDS.items():
        (corpus / name).write_bytes(seed)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz_requests",
            f"-max_total_time={SECONDS}",
            "-max_len=4096",
            "-timeout=20",
            f"-dict={Path(__file__).with_name('http.dict')}",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "Done " in done.stderr

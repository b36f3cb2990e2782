import os
import sys
from pathlib import Path

import pytest

from bench.processes import Process, compiler_seconds, cpu_seconds, pin, run_process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_process_used_is_its_own_and_not_ours() -> None:
    kept = b"x" * 200 * 1024 * 1024
    code = "import time; kept = b'x' * 40 * 1024 * 1024; time.sleep(0.3); print(len(kept))"
    done = run_process(python(code), os.environ, 30)
    assert done.output.strip() == b"41943040"
    assert 40 < done.peak_mib < 120
    assert len(kept) > 0
    busy = run_process(python("sum(range(20_000_000))"), os.environ, 30)
    assert 0.05 < busy.cpu_seconds <= busy.seconds + 0.2


@pytest.mark.parametrize("name", ["C1 CompilerThread0", "C2 CompilerThread0", "worker (of C1)"])
def test_only_the_threads_that_compile_count_as_compiling(tmp_path: Path, name: str) -> None:
    code = f"open('/proc/self/comm', 'w').write({name!r})\nwhile True: pass"
    process = Process(python(code), os.environ, tmp_path / "log")
    try:
        process.wait_until(lambda: cpu_seconds([process.pid]) > 0.3, 30.0)
        assert (compiler_seconds(process.pid) > 0.2) is name.startswith(("C1", "C2"))
    finally:
        process.stop()


def test_a_process_that_does_not_end_is_ended() -> None:
    with pytest.raises(TimeoutError, match="did not end"):
        run_process(python("import time; time.sleep(60)"), os.environ, 0.3)


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(TimeoutError, match="ended with 3"):
        run_process(python("raise SystemExit(3)"), os.environ, 30)


def test_what_is_given_is_read() -> None:
    code = "import sys; print(sys.stdin.read()[::-1])"
    assert run_process(python(code), os.environ, 30, stdin=b"abc").output == b"cba\n"


def test_a_process_that_is_stopped_has_ended_and_one_that_is_not_ready_says_why(
    tmp_path: Path,
) -> None:
    process = Process(python("print('no', flush=True)"), os.environ, tmp_path / "log")
    with pytest.raises(TimeoutError, match="no"):
        process.wait_until(lambda: False, 10)
    sleeping = Process(python("import time; time.sleep(60)"), os.environ, tmp_path / "log")
    assert cpu_seconds([sleeping.pid]) >= 0
    sleeping.stop()
    assert not Path(f"/proc/{sleeping.pid}").exists()


def test_a_pinned_process_stays_where_it_was_put(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    process = Process(python("import time; time.sleep(60)"), os.environ, tmp_path / "log", [cpu])
    try:
        assert os.sched_getaffinity(process.pid) == {cpu}
        pin(process.pid, [])
        assert os.sched_getaffinity(process.pid) == {cpu}
    finally:
        process.stop()

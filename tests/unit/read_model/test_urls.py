"""READ_MODEL_URL as managed services hand it out, and as people mistype it."""

import sqlite3
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from read_model.urls import check_file, make_place, postgresql_options, read_url
from runtime.errors import ConfigurationError
from tests.certificates import make_certificate


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ("postgres://u:p@ec2-1.compute.amazonaws.com:5432/d1", None),
        ("postgresql://u:p@ep-x.neon.tech/neondb?sslmode=require", "require"),
        ("postgresql://postgres:p@db.x.supabase.co:5432/postgres", None),
        ("postgresql+psycopg2://u:p@h/d?sslmode=prefer&application_name=lockstream", "prefer"),
        ("postgresql://u:p@h/d?connect_timeout=10&target_session_attrs=read-write", None),
        (
            "postgresql://u:p@h/d?sslmode=disable&channel_binding=prefer&gssencmode=disable",
            "disable",
        ),
        ("postgresql://u:p@[::1]:5432/d", None),
    ],
)
def test_what_managed_services_hand_out_is_taken(given: str, mode: str | None) -> None:
    url = read_url(given)
    assert url.drivername == "postgresql+asyncpg"
    assert postgresql_options(url).tls == mode


def test_options_reach_the_driver() -> None:
    given = "postgresql://u@h/d?application_name=a&options=-c%20x%3D1&connect_timeout=7"
    options = postgresql_options(read_url(f"{given}&target_session_attrs=primary"))
    assert options.server_settings == {"application_name": "a", "options": "-c x=1"}
    assert (options.connect_timeout_s, options.session) == (7.0, "primary")


def test_certificates_are_read_and_looked_at(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    for mode, checks_name in (("verify-full", True), ("verify-ca", False), ("require", False)):
        url = read_url(f"postgresql://u@h/d?sslmode={mode}&sslrootcert={cert}")
        context = postgresql_options(url).tls
        assert isinstance(context, ssl.SSLContext)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname is checks_name
    client = read_url(f"postgresql://u@h/d?sslmode=require&sslcert={cert}&sslkey={key}")
    assert isinstance(postgresql_options(client).tls, ssl.SSLContext)
    for file, why in ((tmp_path / "none.pem", "No such file"), (Path(key), "no certificate")):
        url = read_url(f"postgresql://u@h/d?sslmode=verify-full&sslrootcert={file}")
        with pytest.raises(ConfigurationError, match=f"READ_MODEL_URL: sslrootcert=.*{why}"):
            postgresql_options(url)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("postgresql://u:secret@h:abc/d", "port"),
        ("postgresql://u:secret@h:70000/d", "70000"),
        ("postgresql://u:secret@h1:1,h2:2/d", "one host"),
        ("postgresql://u:secret@h", "database"),
        ("postgresql://u:secret@h/d?sslmode=sometimes", "sslmode=sometimes"),
        ("postgresql://u:secret@h/d?channel_binding=require", "channel_binding=require"),
        ("postgresql://u:secret@h/d?pgbouncer=true", "pgbouncer"),
        ("postgresql://u:secret@h/d?connect_timeout=soon", "connect_timeout=soon"),
        ("postgresql://u:secret@h/d?sslmode=require&sslmode=disable", "more than once"),
        ("mysql://u:secret@h/d", "mysql"),
        ("read_model.db", "sqlite:////"),
        ("sqlite://", "no file"),
        ("sqlite:///", "no file"),
        ("sqlite:///:memory:", "no file"),
        ("sqlite://folder/file.db", "four slashes"),
        ("sqlite:////folder/file.db?mode=ro", "mode"),
    ],
)
def test_the_rest_is_refused_by_name_and_without_the_password(given: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match="READ_MODEL_URL: ") as refused:
        read_url(given)
    assert named in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_place_for_a_file_is_looked_at(tmp_path: Path) -> None:
    nonsense = tmp_path / "text"
    nonsense.write_text("no database, but long enough")
    for path, why in (
        (tmp_path / "none" / "deep" / "x.db", "does not exist"),
        (tmp_path, "Is a directory"),
        (nonsense, "not an SQLite database"),
        (nonsense / "x.db", "READ_MODEL_URL"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            make_place(read_url(f"sqlite:///{path}"))
    make_place(read_url(f"sqlite:///{tmp_path}/new/x.db"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    check_file(read_url(f"sqlite:///{tmp_path}/new/x.db"))


def test_a_relative_path_is_of_the_working_directory() -> None:
    assert read_url("sqlite:///x.db").database == str(Path("x.db").absolute())


def test_looking_at_a_file_takes_no_lock_from_who_has_it_open(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes the file once. The next process would
    take itself for the last one, and remove the log that the first still writes to."""
    file = tmp_path / "x.db"
    count = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]))"
    ask = (sys.executable, "-c", count, str(file), "SELECT n FROM t")
    with closing(sqlite3.connect(file, isolation_level=None)) as held:
        held.execute("PRAGMA journal_mode=WAL")
        held.execute("CREATE TABLE t (n)")
        make_place(read_url(f"sqlite:///{file}"))
        subprocess.run(ask, check=True, timeout=60)
        held.execute("INSERT INTO t VALUES (7)")
        seen = subprocess.run(ask, check=True, timeout=60, capture_output=True, text=True)
    assert seen.stdout == "(7,)\n"

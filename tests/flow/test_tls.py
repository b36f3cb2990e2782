"""TLS as an operator turns it on."""

import ssl
from pathlib import Path

import httpx
import pytest

from tests.certificates import make_certificate
from tests.flow.client import BODY
from tests.flow.conftest import RunningSystem


def test_up_serves_https_and_prints_a_line_that_works(
    own_system: RunningSystem, tmp_path: Path
) -> None:
    cert, key = make_certificate(tmp_path)
    own_system.start("--tls-cert", cert, "--tls-key", key)
    env = own_system.env
    assert env["BASE_URL"].startswith("https://")
    line = next(line for line in own_system.said.splitlines() if line.startswith("curl -X POST"))
    assert f"--cacert {cert} " in line
    headers = {"Authorization": f"Bearer {env['TOKEN']}", "X-API-Key": env["API_KEY"]}
    trusting = ssl.create_default_context(cafile=cert)
    page = f"{env['BASE_URL']}/locks/123/use-temp-key"
    assert httpx.post(page, json=BODY, headers=headers, verify=trusting).status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.post(page, json=BODY, headers=headers)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(env["BASE_URL"].replace("https", "http") + "/livez")


@pytest.mark.parametrize("role", ["up", "api"])
def test_a_certificate_that_is_not_there_is_named_in_one_line(
    own_system: RunningSystem, role: str, tmp_path: Path
) -> None:
    own_system.folder.mkdir()
    missing = str(tmp_path / "none.pem")
    extra = ("--tls-cert", missing, "--tls-key", missing)
    done = own_system.try_lockstream(role, *extra, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.returncode == 2
    assert missing in done.stderr
    assert len(done.stderr.splitlines()) == 1

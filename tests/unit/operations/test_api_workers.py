"""What several workers of the API need, before any of them is started."""

import msgspec
import pytest

from operations.running import api_workers
from operations.running.api_workers import check_workers, own_health_ports
from operations.running.local_pages import health_pages
from runtime.errors import ConfigurationError
from runtime.settings import Settings

THREE = Settings(api_workers=3, api_health_port=9090)


def test_where_no_port_is_shared_out_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    check_workers(THREE)
    monkeypatch.setattr(api_workers, "can_share_ports", lambda: False)
    with pytest.raises(ConfigurationError, match=r"LOCKSTREAM_API_WORKERS: .* Linux") as refused:
        check_workers(THREE)
    assert "\n" not in str(refused.value)
    check_workers(Settings())


@pytest.mark.parametrize(
    ("health", "api"), [(9090, 9090), (9090, 9092), (65_534, 8080), (65_535, 8080)]
)
def test_health_ports_that_can_not_be_are_named(health: int, api: int) -> None:
    settings = msgspec.structs.replace(THREE, api_health_port=health, api_port=api)
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_API_HEALTH_PORT: "):
        check_workers(settings)
    check_workers(msgspec.structs.replace(settings, api_workers=1))


@pytest.mark.parametrize(("health", "api"), [(9090, 9089), (9090, 9093), (65_533, 8080), (0, 8080)])
def test_health_ports_that_can_be_are_taken(health: int, api: int) -> None:
    check_workers(msgspec.structs.replace(THREE, api_health_port=health, api_port=api))


def test_each_worker_has_a_page_of_its_own_where_a_port_is_set() -> None:
    assert list(own_health_ports(THREE)) == [9090, 9091, 9092]
    assert list(health_pages(THREE)["api"]) == [
        f"http://127.0.0.1:{port}" for port in (9090, 9091, 9092, 8080)
    ]
    one = msgspec.structs.replace(THREE, api_workers=1)
    assert list(health_pages(one)["api"]) == ["http://127.0.0.1:8080"]
    without = msgspec.structs.replace(THREE, api_health_port=0)
    assert list(own_health_ports(without)) == []
    assert list(health_pages(without)["api"]) == ["http://127.0.0.1:8080"]

from collections.abc import Sequence

from chaos.campaign import CLUSTER_SHARE, shared_out
from chaos.data_faults import postgres_faults, sqlite_faults
from chaos.process_faults import process_faults
from chaos.scene import Fault

SINGLE = [*process_faults(), *sqlite_faults()]
CLUSTER = [*process_faults(), *postgres_faults()]


def names(faults: Sequence[Fault]) -> list[str]:
    return [fault.name for fault in faults]


def test_a_rebuild_under_load_alone_hits_both_databases() -> None:
    single, cluster = shared_out(SINGLE, CLUSTER, "rebuilt under load", 60)
    assert names(single.faults) == ["read model: SQLite rebuilt under load"]
    assert names(cluster.faults) == ["read model: PostgreSQL rebuilt under load"]
    assert (single.seconds, cluster.seconds) == (30, 30)


def test_a_fault_that_both_parts_have_has_all_the_time_on_the_single_broker() -> None:
    single, cluster = shared_out(SINGLE, CLUSTER, "kill", 60)
    assert single.faults
    assert not cluster.faults
    assert (single.seconds, cluster.seconds) == (60, 0)


def test_a_fault_that_only_the_cluster_has_has_all_the_time_there() -> None:
    single, cluster = shared_out(SINGLE, CLUSTER, "PostgreSQL stopped", 60)
    assert not single.faults
    assert len(cluster.faults) == 1
    assert (single.seconds, cluster.seconds) == (0, 60)


def test_all_faults_share_the_time() -> None:
    single, cluster = shared_out(SINGLE, CLUSTER, "", 100)
    assert (single.faults, cluster.faults) == (SINGLE, CLUSTER)
    assert cluster.seconds == 100 * CLUSTER_SHARE

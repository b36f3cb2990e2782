from typing import get_args

from chaos.judgement import MAY_BE_LAG, lasts
from lockstream.audit.violations import Kind


def test_only_what_is_found_in_the_read_model_may_go_away_again() -> None:
    kinds = set(get_args(Kind))
    assert kinds >= MAY_BE_LAG
    assert {kind for kind in kinds if not lasts({"kind": kind})} == {
        kind for kind in kinds if kind.startswith("read-model")
    }

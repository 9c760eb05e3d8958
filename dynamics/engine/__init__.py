"""The loop of rounds that every run goes through, the state it carries, and the checks of what it is called with.

``solve``, ``sweeps``, ``stability`` and ``ledger`` share it: ``begin`` a run, ``move`` and ``look`` (together ``one_round``)
or ``go`` on, ``finish``. All of these are pure and traceable; ``jit_…`` are compiled.
"""

from ._loop import (
    Run,
    begin,
    finish,
    go,
    go_filling,
    go_saving,
    jit_begin,
    jit_finish,
    jit_go_filling,
    jit_go_saving,
    jit_row,
    jit_start,
    jit_state_of,
    look,
    measures_for,
    move,
    one_round,
    row,
    snapshot_of,
    start,
    state_of,
)
from ._process import (
    as_measures,
    as_state,
    check_process,
    check_process_key,
    raise_on_failure,
    stands_still,
    warn_still,
)
from ._state import RESULTS, State, result_code, result_name

__all__ = [
    "RESULTS",
    "Run",
    "State",
    "as_measures",
    "as_state",
    "begin",
    "check_process",
    "check_process_key",
    "finish",
    "go",
    "go_filling",
    "go_saving",
    "jit_begin",
    "jit_finish",
    "jit_go_filling",
    "jit_go_saving",
    "jit_row",
    "jit_start",
    "jit_state_of",
    "look",
    "measures_for",
    "move",
    "one_round",
    "raise_on_failure",
    "result_code",
    "result_name",
    "row",
    "snapshot_of",
    "stands_still",
    "start",
    "state_of",
    "warn_still",
]

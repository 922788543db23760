"""A result of a run, as a coordinator tells it."""

import dataclasses
from typing import Any

from fedward_common.wire.run_result import PooledFigure, RunResult

FIGURE = PooledFigure(0.5, 0.25, 0.75, 40, None, 0.01, 0, 22, 18)
UNDEFINED = PooledFigure(None, None, None, 0, "no test patient has it", None, 0, None, None)


def a_result(**changes: Any) -> RunResult:
    told = RunResult(
        test={"auc": FIGURE, "f1": UNDEFINED},
        validation={"auc": FIGURE},
        threshold_bin_edges={"finding": 480},
        selected_round=3,
        rounds_committed=4,
        num_sites=3,
        journal_head="ab" * 32,
        journal_lines=9,
    )
    return dataclasses.replace(told, **changes)

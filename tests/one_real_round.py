"""A coordinator and three sites on this machine: start, connect, one round, stop.

Run as a module with an empty folder; it fails where any of this does.
"""

import sys
from pathlib import Path

from tests.real_federation import RealFederation, make_real_federation
from tests.tiny_federation import SITES

RUN = "only"
COMMAND = (sys.executable, "-m", "tests.one_real_round")
_SECONDS = 240


def carry_out(real: RealFederation) -> None:
    """Go through one run."""
    real.tiny = real.tiny.with_job(
        "job.rounds=1", "evaluation.every=1", "quorum.deadline_seconds=200"
    )
    real.tiny.set_up(real.coordinator_home.runs / RUN)
    coordinator = real.start_coordinator()
    sites = [real.start_site(site) for site in SITES]
    coordinator.wait_for("round.committed", _SECONDS, run=RUN, round=1)
    coordinator.wait_for("run.finished", _SECONDS, run=RUN)
    for process in (*sites, coordinator):
        assert process.end() == 0


def main() -> None:
    """Do it in the folder of the argument."""
    real = make_real_federation(Path(sys.argv[1]))
    try:
        carry_out(real)
    finally:
        left = real.close()
    assert left == []


if __name__ == "__main__":
    main()

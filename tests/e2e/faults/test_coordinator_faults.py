"""Sites fall silent in a sum that is under way."""

import signal

import pytest
from tests.faulty_federation import SECONDS, TASKS, FaultyFederation
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES, MASKED


@pytest.mark.slow
def test_too_few_sites_in_the_last_step_reveal_nothing_and_the_next_round_goes_on(
    federation: FaultyFederation,
) -> None:
    """F38: of five sites four must unmask; two fall silent once they signed for the survivors."""
    federation.lay_down(
        "silent", MASKED, "job.rounds=2", "evaluation.every=2", "quorum.deadline_seconds=150",
        "secure_aggregation.step_deadline_seconds=25",
    )  # fmt: skip
    federation.order("silent")
    silent = ("cedar", "dogwood")
    for site in silent:
        federation.came_at(site, "message.answered", type="query.confirm", round="1")
        federation.send(signal.SIGSTOP, site, TASKS)
    until(lambda: "round.dropped" in federation.kinds("silent"), "the round is left out", SECONDS)
    assert federation.codes("silent") == {(site, 1, "LATE") for site in silent}
    federation.heal()
    federation.came("run.finished", run="silent")
    assert federation.participants("silent") == [[], list(FIVE_SITES)]

"""The coordinator is killed, or its sites fall silent, in a sum that is under way."""

import signal

import pytest
from tests.faulty_federation import SECONDS, TASKS, FaultyFederation
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES, MASKED

DEADLINES = ("quorum.deadline_seconds=150", "secure_aggregation.step_deadline_seconds=150")
# All sites in the one attempt: a deadline that is waited out ends the run by an error.
ALL_AT_ONCE = ("quorum.required_sites=5", "quorum.attempts=1")
ONE_ROUND = (MASKED, "job.rounds=1", "evaluation.every=1", *ALL_AT_ONCE, *DEADLINES)


@pytest.mark.slow
def test_a_masked_run_killed_in_every_step_ends_with_the_undisturbed_weights(
    federation: FaultyFederation,
) -> None:
    """F1, F2, F3: nothing is trained or charged twice, one set of weights is committed, and no
    site has confirmed or revealed another set of survivors than the others."""
    undisturbed = federation.undisturbed("killed", *ONE_ROUND)
    federation.lay_down("killed", *ONE_ROUND)
    federation.order("killed")
    for ended in ("train.round", "query.share", "query.mask"):
        # Told as the first message of the next step is sent.
        federation.came("exchange.ended", type=ended, round="1")
        federation.kill_coordinator()
    federation.came_at("elder", "message.answered", type="query.unmask", round="1")
    federation.kill_coordinator()
    federation.came("run.finished", run="killed")
    assert federation.outcome("killed") == undisturbed
    kinds = federation.kinds("killed")
    assert kinds.count("round.committed") == 1
    assert not {kind for kind in kinds if kind.endswith((".abandoned", ".dropped", ".lost"))}
    assert not federation.codes("killed")
    for site in FIVE_SITES:
        assert federation.survivors(site, "killed", 1) == FIVE_SITES
        assert federation.refusals(site, "killed") == []
        assert federation.trained(site, "killed") == [1]
        assert federation.begun(site, "killed") == [1]


@pytest.mark.slow
def test_a_run_killed_while_the_others_confirm_that_one_dropped_out_ends_with_their_sum(
    federation: FaultyFederation,
) -> None:
    """F3: the one shared its keys and sent no vector, so the four others sign who survived."""
    federation.lay_down(
        "without-one", MASKED, "job.rounds=1", "evaluation.every=1", "quorum.attempts=1",
        "quorum.required_sites=4", "quorum.deadline_seconds=150",
        "secure_aggregation.step_deadline_seconds=25",
    )  # fmt: skip
    federation.order("without-one")
    federation.came_at("elder", "message.answered", type="query.share", round="1")
    federation.send(signal.SIGSTOP, "elder", TASKS)
    federation.came_at("alder", "message.answered", type="query.confirm", round="1")
    federation.heal()  # its vector comes too late
    federation.kill_coordinator()
    federation.came("exchange.ended", type="query.confirm", round="1")
    federation.kill_coordinator()
    federation.came("run.finished", run="without-one")
    others = tuple(site for site in FIVE_SITES if site != "elder")
    assert federation.participants("without-one") == [list(others)]
    for site in others:
        assert federation.survivors(site, "without-one", 1) == others
        assert federation.trained(site, "without-one") == [1]


@pytest.mark.slow
def test_too_few_sites_in_the_last_step_reveal_nothing_and_the_next_round_goes_on(
    federation: FaultyFederation,
) -> None:
    """F38: of five sites four must unmask; two fall silent once they sent their vectors."""
    federation.lay_down(
        "silent", MASKED, "job.rounds=2", "evaluation.every=2", "quorum.deadline_seconds=150",
        "secure_aggregation.step_deadline_seconds=25",
    )  # fmt: skip
    federation.order("silent")
    silent = ("cedar", "dogwood")
    for site in silent:
        federation.came_at(site, "message.answered", type="query.mask", round="1")
        federation.send(signal.SIGSTOP, site, TASKS)
    until(lambda: "round.dropped" in federation.kinds("silent"), "the round is left out", SECONDS)
    assert federation.codes("silent") == {(site, 1, "LATE") for site in silent}
    federation.heal()
    federation.came("run.finished", run="silent")
    assert federation.participants("silent") == [[], list(FIVE_SITES)]

"""A site whose data, weights, time or records fail it: the others go on without it."""

import shutil
import signal

import pytest
from tests.faulty_federation import TASKS, FaultyFederation
from tests.masked_federation import FIVE_SITES
from tests.real_federation import ended
from tests.simulation.test_strategies import PLAIN, PRIVATE
from tests.tied_process import tied_command

from fedward_common.identities import SiteId

# Each step takes the weights a thousand times as far from those that came.
DIVERGES = (
    *PLAIN, "strategy.name=fedavg", "training.optimizer.learning_rate=100",
    "training.proximal_mu=10", "training.local_steps=60",
)  # fmt: skip
TWO_ROUNDS = ("job.rounds=2", "evaluation.every=2", "quorum.required_sites=3")


def without(*sites: str) -> list[str]:
    return [site for site in FIVE_SITES if site not in sites]


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_sent_by_nobody(federation: FaultyFederation) -> None:
    """F16: every site says so by a code, and nothing is committed."""
    folder = federation.lay_down(
        "nan", "job.rounds=1", "evaluation.every=1", "quorum.attempts=1",
        "quorum.deadline_seconds=150", *DIVERGES,
    )  # fmt: skip
    federation.order("nan")
    failed = federation.came("run.failed", run="nan")
    assert failed["code"] == "QUORUM_NOT_REACHED"
    assert all(f"{site}: NON_FINITE" in failed["problem"] for site in FIVE_SITES)
    assert "round.committed" not in federation.kinds("nan")
    shutil.rmtree(folder)  # it is still open, so the next start would order it again


@pytest.mark.slow
def test_a_slow_site_misses_its_round_and_one_without_data_the_run(
    federation: FaultyFederation,
) -> None:
    """F15, F19: the slow one's late answer is dropped, and it is in the round after."""
    federation.lay_down("slow", *TWO_ROUNDS, "quorum.deadline_seconds=30")
    archive = federation.tiny.data / "dogwood.npz"
    archive.rename(archive.with_suffix(".away"))
    try:
        federation.order("slow")
        federation.came_at("cedar", "message.answered", type="query.manifest")
        federation.send(signal.SIGSTOP, "cedar", TASKS)
        first = federation.came("round.committed", run="slow", round=1)
        federation.heal()
        federation.came("run.finished", run="slow")
    finally:
        archive.with_suffix(".away").rename(archive)
    assert first["sites"] == without("cedar", "dogwood")
    assert first["failures"] == ["cedar: LATE"]
    assert federation.participants("slow")[1] == without("dogwood")
    assert ("dogwood", 0, "E_SOURCE_UNREADABLE") in federation.codes("slow")


@pytest.mark.slow
def test_a_site_declines_what_its_policy_or_its_ledger_forbids(
    federation: FaultyFederation,
) -> None:
    """F31, F33: one declines before it trains; the other does as soon as its ledger is changed."""
    homes = {site: federation.tiny.homes[SiteId(site)] for site in FIVE_SITES}
    policy, ledger = homes["elder"] / "policy.toml", homes["dogwood"] / "ledger" / "entries.jsonl"
    allowed = policy.read_text()
    policy.write_text(allowed.replace("1000.0", "3.0"))
    federation.lay_down("declined", *PRIVATE, *TWO_ROUNDS, "quorum.deadline_seconds=150")
    federation.order("declined")
    federation.came_at("dogwood", "message.answered", type="train.round", round="1")
    federation.send(signal.SIGSTOP, "dogwood", TASKS)
    entries = ledger.read_bytes()
    ledger.write_bytes(entries.replace(b'"attempt":1', b'"attempt":2', 1))
    federation.heal()
    federation.came("run.finished", run="declined")
    ledger.write_bytes(entries)
    policy.write_text(allowed)
    assert federation.participants("declined") == [without("elder"), without("dogwood", "elder")]
    assert {("elder", 0, "EPSILON_ABOVE_CAP"), ("dogwood", 2, "LEDGER_DAMAGED")} <= (
        federation.codes("declined")
    )
    assert federation.begun("dogwood", "declined") == [1]
    assert federation.homes_of_run("elder", "declined") == []
    assert "LEDGER_DAMAGED" in (homes["dogwood"] / "site.log").read_text()


@pytest.mark.slow
def test_an_audit_line_that_was_edited_is_named(federation: FaultyFederation) -> None:
    """F32: by the command that hospitals check their record with."""
    for word in ("pause", "resume"):
        federation.site_tells("alder", word)
    record = federation.tiny.homes[SiteId("alder")] / "audit.jsonl"
    written = record.read_text()
    number = 1 + written[: written.index('"by":"')].count("\n")
    record.write_text(written.replace('"by":"', '"by":"x', 1))
    home = str(record.parent)
    found = ended(tied_command("fedward_client.cli", "audit", "verify", "--home", home))
    record.write_text(written)
    assert found.returncode == 1
    assert f"audit.jsonl line {number} " in found.stderr
    assert federation.site_tells("alder", "audit", "verify")["lines"] >= 2

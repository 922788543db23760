"""Processes of a site that are killed, or run where they may not."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faulty_federation import NODE, SECONDS, TASKS, FaultyFederation, copied_home
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES
from tests.real_federation import Process
from tests.simulation.test_strategies import PRIVATE
from tests.tied_process import tied_command

from fedward_common.identities import SiteId

JOB = (
    *PRIVATE, "job.rounds=1", "evaluation.every=1", "training.local_steps=15",
    "quorum.required_sites=5", "quorum.deadline_seconds=150", "quorum.attempts=4",
)  # fmt: skip


@pytest.mark.slow
def test_sites_killed_in_and_after_training_give_one_answer_and_are_charged_once(
    federation: FaultyFederation, tmp_path: Path
) -> None:
    """F10, F11, F21, F22: and a copy of a home is turned away, and the first told of it."""
    undisturbed = federation.undisturbed("processes", *JOB)
    federation.lay_down("processes", *JOB)
    federation.order("processes")
    todo: dict[str, Callable[[], None]] = {
        "birch": federation.lines["birch"].cut,  # it trains, and its answer cannot leave
        "cedar": lambda: federation.send(signal.SIGKILL, "cedar", TASKS),
    }
    until(lambda: not done_while_training(federation, todo), "both train")
    federation.came_at("birch", "message.answered", type="train.round", round="1")
    federation.send(signal.SIGKILL, "birch", NODE)
    federation.lines["birch"].heal()
    assert federation.came_at("birch", "child.ended", child="node", code="SIGNAL_9")["again_in"] < 2

    twin = copied_home(federation.tiny.homes[SiteId("alder")], tmp_path / "twin")
    command = tied_command("fedward_client.cli", "start", "--home", str(twin))
    second = Process.start(command, tmp_path / "stderr.log")
    second.wait_for("node.refused", 100, code="NODE_REFUSED")
    until(lambda: sites_with_two_nodes(federation), "the coordinator sees both", SECONDS)
    until(lambda: "node.duplicate" in federation.events_at("alder"), "the first is told", SECONDS)
    assert second.end() == 0

    federation.came("run.finished", run="processes")
    assert federation.outcome("processes") == undisturbed
    # Nodes that were killed were refused too, until theirs was believed to be gone.
    assert sites_with_two_nodes(federation) == {"alder"}
    shown = federation.site_tells("alder", "status")["membership"]
    assert shown["duplicate"] is not None
    audited = (federation.tiny.homes[SiteId("alder")] / "audit.jsonl").read_text()
    assert '"membership":"node.duplicate"' in audited.replace(": ", ":")
    for site in FIVE_SITES:
        assert federation.trained(site, "processes") == [1]
        assert federation.begun(site, "processes") == [1]


def sites_with_two_nodes(federation: FaultyFederation) -> set[str]:
    """Give the sites whose key the coordinator saw at two nodes."""
    told = federation.serving.all_lines()
    return {line["site"] for line in told if line["event"] == "node.duplicate"}


def done_while_training(
    federation: FaultyFederation, todo: dict[str, Callable[[], None]]
) -> dict[str, Callable[[], None]]:
    """Do what is left for each site that trains now; give what is left then."""
    for site in [site for site in todo if federation.is_training(site)]:
        todo.pop(site)()
    return todo

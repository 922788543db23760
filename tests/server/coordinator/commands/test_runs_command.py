"""`fedward runs`, `status` and `sites`: what the coordinator may know, and no more."""

import json
from pathlib import Path

import pytest
from tests.server.coordinator.commands.conftest import FINISHED, HALF, Fedward
from tests.tiny_federation import TinyFederation

from fedward_client.daemon.node_key import stated_node_key
from fedward_client.site_home import SiteHome
from fedward_common.errors import QuorumError
from fedward_common.identities import SiteId
from fedward_server.coordinator.commands import sites_command
from fedward_server.coordinator.commands.planned_run import present_roster
from fedward_server.coordinator.commands.runs_command import run_status
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import FlowerControl, OrderedRun
from fedward_server.coordinator.waiting import tell_waiting
from fedward_server.simulation.throwaway_consortium import CONSORTIUM


def test_runs_lists_each_with_its_state(fedward: Fedward) -> None:
    rows = {row["run"]: row for row in json.loads(fedward("runs", "--json").out)}
    assert (rows[FINISHED]["state"], rows[FINISHED]["rounds_completed"]) == ("finished", 4)
    assert (rows[HALF]["state"], rows[HALF]["rounds_completed"]) == ("waiting", 2)
    text = fedward("runs").out
    assert "2 of 4" in text
    assert "waiting" in text


def test_a_run_that_cannot_be_read_hides_no_other(home: CoordinatorHome, fedward: Fedward) -> None:
    (home.runs / HALF / "entries.jsonl").write_text("{}\n")
    rows = {row["run"]: row for row in json.loads(fedward("runs", "--json").out)}
    assert (rows[HALF]["state"], rows[HALF]["code"]) == ("unusable", "CORRUPT_FILE")
    assert rows[FINISHED]["state"] == "finished"
    assert "unusable (CORRUPT_FILE)" in fedward("runs").out
    assert "was changed" in fedward("status", HALF).refusal


def test_a_home_without_runs_says_how_to_begin(
    home: CoordinatorHome, fedward: Fedward, tmp_path: Path
) -> None:
    home.runs.rename(tmp_path / "elsewhere")
    assert "fedward launch" in fedward("runs").out
    assert json.loads(fedward("runs", "--json").out) == []


def test_status_says_how_far_a_run_is_and_who_takes_part(fedward: Fedward) -> None:
    status = json.loads(fedward("status", HALF, "--json").out)
    assert (status["rounds_completed"], status["rounds"], status["state"]) == (2, 4, "waiting")
    assert status["last_participants"] == ["alder", "birch", "cedar"]
    assert status["accepted"]["alder"] == {"band": "10 to 19", "unit": "patient", "trains": True}
    assert status["best"] is None  # round 2 is evaluated in round 3
    text = fedward("status", FINISHED).out
    assert "best" in text
    assert "10 to 19" in text
    assert "alder, birch, cedar" in next(x for x in text.splitlines() if "result told to" in x)
    assert "result told to" not in fedward("status", HALF).out
    found = json.loads(fedward("status", FINISHED, "--json").out)
    assert (found["told"], found["untold"]) == (["alder", "birch", "cedar"], {})


def test_status_says_whom_a_run_that_is_under_way_waits_for(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_waiting(home.runs / HALF, {SiteId("birch"): "NODE_UNAVAILABLE"})

    def status(ordered: OrderedRun, *, json_output: bool) -> str:
        run_status(home, HALF, json_output=json_output, orders=lambda _: {HALF: ordered})
        return capsys.readouterr().out

    running = OrderedRun(is_open=True, is_running=True, code="")
    told = json.loads(status(running, json_output=True))
    assert told["waiting_for"] == {"birch": "NODE_UNAVAILABLE"}
    assert "birch (NODE_UNAVAILABLE)" in status(running, json_output=False)
    # Killed in that wait it left the mark behind, and is queued now.
    queued = OrderedRun(is_open=True, is_running=False, code="")
    assert json.loads(status(queued, json_output=True))["waiting_for"] == {}
    assert "NODE_UNAVAILABLE" not in status(queued, json_output=False)


def test_a_run_is_found_by_the_id_that_hospitals_know(
    home: CoordinatorHome, fedward: Fedward
) -> None:
    (home.runs / HALF / "manifest.cbor").unlink()
    run_id = json.loads(fedward("status", FINISHED, "--json").out)["run_id"]
    assert json.loads(fedward("status", run_id, "--json").out)["run"] == FINISHED


def test_status_names_whoever_failed_with_the_code(
    home: CoordinatorHome, fedward: Fedward, member: TinyFederation
) -> None:
    faults = {"birch": "train.round/2/1=nan"}
    run = home.runs / "faulty"
    member.run(run, client_app="tests.faulty_site:app", faults=faults)
    status = json.loads(fedward("status", "faulty", "--json").out)
    told = {"round": 2, "attempt": 1, "site": "birch", "code": "NON_FINITE"}
    assert status["failures"] == [told]
    words = "the update held NaN or infinity and was not used"
    assert f"round 2: birch: NON_FINITE: {words}\n" in fedward("status", "faulty").out
    assert "birch: NON_FINITE" in fedward("watch", "faulty").out


def test_a_run_that_too_few_accept_says_who_did_not_and_why(
    home: CoordinatorHome, fedward: Fedward, member: TinyFederation
) -> None:
    faults = dict.fromkeys(("alder", "birch"), "query.manifest/*/*=raise")
    with pytest.raises(QuorumError):
        member.run(home.runs / "few", client_app="tests.faulty_site:app", faults=faults)
    told = {"round": 0, "attempt": 0, "site": "birch", "code": "NODE_UNAVAILABLE"}
    status = json.loads(fedward("status", "few", "--json").out)
    assert (told in status["failures"], status["accepted"]) == (True, {})
    words = "the site was not connected"
    assert f"acceptance: birch: NODE_UNAVAILABLE: {words}\n" in fedward("status", "few").out
    rows = json.loads(fedward("sites", "--json").out)["sites"]
    last = {row["site"]: row["last_answer"] for row in rows}
    assert last["birch"] == {"run": "few", "round": 0, "code": "NODE_UNAVAILABLE"}


def test_status_of_a_run_that_is_not_there_is_one_line(fedward: Fedward) -> None:
    assert "has no run 'none'" in fedward("status", "none").refusal
    assert "is no name of a run" in fedward("watch", "a/b").refusal


def test_sites_are_told_with_their_last_answers(
    home: CoordinatorHome, fedward: Fedward, member: TinyFederation
) -> None:
    alder = member.homes[SiteId("alder")]
    stated = stated_node_key(SiteHome(alder), site=SiteId("alder"), consortium=CONSORTIUM)
    (home.nodes / "alder.cbor").write_bytes(stated)
    (home.nodes / "birch.cbor").write_bytes(stated)  # of another site than its file
    told = json.loads(fedward("sites", "--json").out)
    rows = {row["site"]: row for row in told["sites"]}
    assert told["coordinator_runs"] is False
    assert list(rows) == ["alder", "birch", "cedar"]
    assert [row["may_connect"] for row in rows.values()] == [True, False, False]
    assert rows["alder"]["connected"] is None
    assert rows["alder"]["last_answer"]["code"] in ("CONTRIBUTED", "EVALUATED")
    text = fedward("sites").out
    assert "no key of its node" in text
    assert "No coordinator runs" in text


def test_a_site_is_connected_when_its_node_is(
    home: CoordinatorHome,
    fedward: Fedward,
    member: TinyFederation,
    control: FlowerControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for site, folder in member.homes.items():
        stated = stated_node_key(SiteHome(folder), site=site, consortium=CONSORTIUM)
        (home.nodes / f"{site}.cbor").write_bytes(stated)
    told = json.loads(fedward("sites", "--json").out)
    assert [row["connected"] for row in told["sites"]] == [False, False, False]
    assert control.online_nodes() == frozenset()
    roster, _ = present_roster(home, now_seconds=roster_time(home))
    key = sites_command._stated_key(home, roster, SiteId("birch"))
    monkeypatch.setattr(sites_command, "online_keys", lambda _: frozenset({key}))
    told = json.loads(fedward("sites", "--json").out)
    assert [row["connected"] for row in told["sites"]] == [False, True, False]


def roster_time(home: CoordinatorHome) -> float:
    return home.roster_file.stat().st_mtime

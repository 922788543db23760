"""`fedward watch`: every entry once, and an end when the run ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.coordinator.commands.conftest import FINISHED, HALF, Fedward

from fedward_common.errors import FedwardError, StoppedError
from fedward_common.identities import SiteId
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.commands.watch_command import line_of, run_watch
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import OrderedRun
from fedward_server.coordinator.run_queue import take_place
from fedward_server.coordinator.run_stop import stop_run
from fedward_server.coordinator.waiting import tell_waiting

RUNNING = OrderedRun(is_open=True, is_running=True, code="")
DONE = OrderedRun(is_open=False, is_running=False, code="")


def then(*steps: Callable[[], None]) -> Callable[[float], None]:
    """Let something happen at each wait; a wait too many is an error."""
    left = list(steps)

    def wait(seconds: float) -> None:
        assert seconds > 0
        left.pop(0)()

    return wait


def watched(
    home: CoordinatorHome,
    name: str,
    wait: Callable[[float], None],
    orders: dict[str, OrderedRun] | None = None,
) -> None:
    run_watch(home, name, json_output=True, orders=lambda: orders, wait=wait)


def kinds(out: str) -> list[str]:
    lines = [json.loads(line) for line in out.splitlines()]
    return [line.get("state") or line["kind"] for line in lines]


def finish(home: CoordinatorHome) -> None:
    whole = (home.runs / FINISHED / "entries.jsonl").read_bytes()
    (home.runs / HALF / "entries.jsonl").write_bytes(whole)


def test_a_finished_run_is_told_from_its_first_entry_to_its_last(fedward: Fedward) -> None:
    ended = fedward("watch", FINISHED)
    lines = ended.out.splitlines()
    assert ended.code == 0, ended.err
    assert lines[0] == "accepted by alder, birch, cedar"
    assert lines[1] == "round 1 of 4: alder, birch, cedar"
    assert "round 2 has auc" in ended.out
    assert lines[-3] == "result told to alder, birch, cedar"
    assert lines[-2:] == ["finished", f"{FINISHED} is finished"]


def test_entries_are_told_once_as_they_come_until_the_run_is_finished(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(home, HALF, then(lambda: None, lambda: finish(home)), {HALF: RUNNING})
    told = kinds(capsys.readouterr().out)
    assert told[:4] == ["run.accepted", "round.committed", "round.committed", "running"]
    assert told.count("round.committed") == 4
    assert told.count("running") == 1
    assert told[-2:] == ["run.finished", "finished"]


def test_a_queued_run_tells_its_place_until_it_begins(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = OrderedRun(is_open=True, is_running=False, code="")
    orders = {"first": RUNNING, "second": queued, HALF: queued}
    for name in ("second", HALF):
        (home.runs / name).mkdir(exist_ok=True)
        take_place(home.runs, home.runs / name)
    steps = then(
        lambda: orders.update(first=DONE, second=RUNNING),
        lambda: None,
        lambda: orders.update({"second": DONE, HALF: RUNNING}),
        lambda: finish(home),
    )
    run_watch(home, HALF, json_output=False, orders=lambda: orders, wait=steps)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(HALF)]
    assert lines == [
        "half is queued at place 2 after first, second",
        "half is queued at place 1 after second",
        "half is running",
        "half is finished",
    ]


def test_programs_are_told_the_place_as_well(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = OrderedRun(is_open=True, is_running=False, code="")
    watched(home, HALF, then(lambda: finish(home)), {HALF: queued, "first": RUNNING})
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first = {"kind": "state", "run": HALF, "state": "queued", "place": 1, "after": ["first"]}
    assert first in told
    assert {"kind": "state", "run": HALF, "state": "finished"} in told


def test_who_is_waited_for_is_told_whenever_it_changes(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home.runs / HALF
    alder, birch = SiteId("alder"), SiteId("birch")
    steps = then(
        lambda: tell_waiting(folder, {alder: "NOT_ANSWERED", birch: "WAITING_FOR_APPROVAL"}),
        lambda: None,
        lambda: tell_waiting(folder, {birch: "WAITING_FOR_APPROVAL"}),
        lambda: tell_waiting(folder, {}),
        lambda: finish(home),
    )
    run_watch(home, HALF, json_output=False, orders=lambda: {HALF: RUNNING}, wait=steps)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("waiting")]
    assert lines == [
        "waiting for alder (NOT_ANSWERED), birch (WAITING_FOR_APPROVAL)",
        "waiting for birch (WAITING_FOR_APPROVAL)",
    ]


def test_who_is_waited_for_is_told_to_programs_as_well(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home.runs / HALF
    tell_waiting(folder, {SiteId("birch"): "NOT_ANSWERED"})
    steps = then(lambda: tell_waiting(folder, {}), lambda: finish(home))
    watched(home, HALF, steps, {HALF: RUNNING})
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"kind": "waiting", "run": HALF, "sites": {"birch": "NOT_ANSWERED"}} in told
    assert {"kind": "waiting", "run": HALF, "sites": {}} in told


def test_whom_a_run_waited_for_when_it_was_killed_is_not_told(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_waiting(home.runs / HALF, {SiteId("birch"): "NODE_UNAVAILABLE"})
    queued = OrderedRun(is_open=True, is_running=False, code="")
    watched(home, HALF, then(lambda: finish(home)), {HALF: queued})
    assert "NODE_UNAVAILABLE" not in capsys.readouterr().out


def test_no_sums_of_patients_are_told(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(home, FINISHED, then())
    assert '"sums"' not in capsys.readouterr().out


def test_a_run_that_fails_ends_the_watch_with_its_code(home: CoordinatorHome) -> None:
    failed = OrderedRun(is_open=False, is_running=False, code="QUORUM_NOT_REACHED")
    with pytest.raises(FedwardError, match="failed: QUORUM_NOT_REACHED") as raised:
        watched(home, HALF, then(), {HALF: failed})
    assert (raised.value.code, raised.value.exit_code) == ("RUN_FAILED", 1)
    assert "--resume --name half" in raised.value.hint


def test_who_did_not_accept_a_run_is_told(home: CoordinatorHome) -> None:
    refused = {"round": 0, "attempt": 0, "site": "birch", "code": "PROTOCOL_TOO_NEW"}
    entry = {"kind": "acceptance.abandoned", "failures": [refused]}
    line = line_of(entry, view_of(home, HALF))
    assert line == "too few sites accept the run; birch: PROTOCOL_TOO_NEW"


def test_a_run_that_is_stopped_ends_the_watch(home: CoordinatorHome) -> None:
    def stop() -> None:
        stop_run(home.runs / HALF, now_seconds=0)

    with pytest.raises(StoppedError, match="'half' is stopped"):
        watched(home, HALF, then(stop), {HALF: RUNNING})


def test_a_run_waits_for_a_coordinator_that_is_gone(
    home: CoordinatorHome, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(home, HALF, then(lambda: None, lambda: finish(home)))
    assert kinds(capsys.readouterr().out).count("waiting") == 1


def test_who_stops_watching_stops_no_run(home: CoordinatorHome) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="no longer watched") as raised:
        watched(home, HALF, then(interrupt), {HALF: RUNNING})
    assert "goes on" in raised.value.hint
    assert not (home.runs / HALF / "stopped.json").exists()


def test_a_journal_that_is_changed_while_it_is_watched_ends_the_watch(
    home: CoordinatorHome,
) -> None:
    def harm() -> None:
        file = Path(home.runs / HALF / "entries.jsonl")
        file.write_bytes(file.read_bytes().replace(b"alder", b"elder"))

    with pytest.raises(FedwardError, match="was changed"):
        watched(home, HALF, then(harm), {HALF: RUNNING})


@pytest.mark.parametrize(("value", "shown"), [(0.25, "0.2500"), (None, "not finite")])
def test_a_round_that_the_hold_out_set_rejected_is_told_with_both_values(
    home: CoordinatorHome, value: float | None, shown: str
) -> None:
    found = {"metric": "auc", "value": value, "value_before": 0.75}
    entry = {"kind": "round.dropped", "round": 3, "failures": [], "hold_out": found}
    wanted = f"round 3 of 4 is left out: auc {shown} on the hold-out set, 0.7500 before"
    assert line_of(entry, view_of(home, HALF)) == wanted

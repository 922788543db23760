"""Whom a run waits for, as others see it."""

from pathlib import Path

from fedward_common.identities import SiteId
from fedward_server.coordinator.waiting import tell_waiting, teller_of, waited_for

BIRCH, CEDAR = SiteId("birch"), SiteId("cedar")


def test_it_stands_in_the_folder_until_nobody_is_waited_for(tmp_path: Path) -> None:
    notes: list[str] = []
    tell = teller_of(tmp_path, notes.append)
    tell({CEDAR: "WAITING_FOR_APPROVAL", BIRCH: "NOT_ANSWERED"})
    assert waited_for(tmp_path) == {"birch": "NOT_ANSWERED", "cedar": "WAITING_FOR_APPROVAL"}
    assert notes == ["waiting for birch (NOT_ANSWERED), cedar (WAITING_FOR_APPROVAL)"]
    tell({})
    assert waited_for(tmp_path) == {}
    assert len(notes) == 1


def test_a_node_that_comes_and_goes_is_told_once(tmp_path: Path) -> None:
    notes: list[str] = []
    tell = teller_of(tmp_path, notes.append)
    both = {BIRCH: "NODE_UNAVAILABLE", CEDAR: "NODE_UNAVAILABLE"}
    for flaps in (both, {BIRCH: both[BIRCH]}, both, {BIRCH: both[BIRCH]}):
        tell(flaps)
        assert waited_for(tmp_path) == flaps
    assert notes == ["waiting for birch (NODE_UNAVAILABLE), cedar (NODE_UNAVAILABLE)"]


def test_a_mark_that_is_no_list_of_sites_is_nobody(tmp_path: Path) -> None:
    assert waited_for(tmp_path) == {}
    for content in (b"[1]", b"{", b"\xff"):
        (tmp_path / "waiting.json").write_bytes(content)
        assert waited_for(tmp_path) == {}
    tell_waiting(tmp_path, {})
    assert not (tmp_path / "waiting.json").exists()

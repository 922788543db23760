"""A masked run that is killed anywhere and goes on gives what the undisturbed run gives (F1-F3)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Message
from tests.masked_federation import (
    FIVE_SITES,
    MASKED,
    SHORT,
    Passing,
    WatchedGrid,
    codes_of,
    five_sites,
    kinds_of,
    last_weights,
    restart_sites,
)
from tests.simulation.test_resume import Killed, KillingJournal
from tests.simulation.test_strategies import PRIVATE, SCAFFOLD
from tests.tiny_federation import (
    SITES,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
)

from fedward_common.errors import QuorumError


class KillingEverywhere:
    """Ends the coordinator the first time each message passes, and every site with it.

    Args:
        before: Before the message reaches the site, or when its answer is on the way.
        in_memory: Whether the sites keep rounds in memory alone.
    """

    def __init__(
        self, federation: TinyFederation, *, before: bool, in_memory: bool = False
    ) -> None:
        self.federation, self.before, self.in_memory = federation, before, in_memory
        self.killed_at: list[str] = []

    def grid(self) -> WatchedGrid:
        if self.before:
            return WatchedGrid(self.federation, before=self._kill, in_memory=self.in_memory)
        return WatchedGrid(self.federation, after=self._kill, in_memory=self.in_memory)

    def _kill(self, passing: Passing, message: Message) -> None:
        if passing.place not in self.killed_at:
            self.killed_at.append(passing.place)
            if not self.in_memory:  # which ends with the Grid, also where the process goes on
                restart_sites()
            raise Killed

    def run(self, folder: Path) -> None:
        while True:
            try:
                self.federation.run(folder, grid=self.grid())
            except Killed:
                continue
            return


STEPS_OF_A_SUM = 5  # READY, share, mask, confirm, unmask


@pytest.mark.parametrize("in_memory", [False, True], ids=["on disk", "in memory"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_killed_at_every_message_ends_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path, before: bool, in_memory: bool
) -> None:
    federation = tiny.with_job(*SHORT)
    killing = KillingEverywhere(federation, before=before, in_memory=in_memory)
    killing.run(tmp_path / "killed")
    num_sums = 4  # two rounds, validation, test; beside them the manifest and the result
    assert len(killing.killed_at) == len(SITES) * (2 + num_sums * STEPS_OF_A_SUM)
    assert essence(tmp_path / "killed") == essence(undisturbed)
    assert not codes_of(tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_so_does_a_run_whose_rounds_nobody_is_asked_to_confirm(
    tmp_path: Path, before: bool
) -> None:
    """Of five sites one may leave; sums of an evaluation are confirmed all the same."""
    federation = five_sites(tmp_path / "federation").with_job(*SHORT)
    federation.run(tmp_path / "undisturbed")
    killing = KillingEverywhere(federation, before=before)
    killing.run(tmp_path / "killed")
    num_steps = 2 * (STEPS_OF_A_SUM - 1) + 2 * STEPS_OF_A_SUM
    assert len(killing.killed_at) == len(FIVE_SITES) * (2 + num_steps)
    assert not [place for place in killing.killed_at if place.startswith("query.confirm:train")]
    assert essence(tmp_path / "killed") == essence(tmp_path / "undisturbed")
    assert not codes_of(tmp_path / "killed")


@pytest.mark.parametrize(
    "settings", [(), SCAFFOLD, (*SCAFFOLD, *PRIVATE)], ids=["plain", "scaffold", "private"]
)
def test_a_run_killed_at_every_journal_entry_ends_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = tiny.with_job(*SHORT, *settings)
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    federation.set_up(folder)
    for entry in range(1, len(entries_of(tmp_path / "undisturbed")) + 1):
        for before in (True, False):
            restart_sites()
            with pytest.raises(Killed):
                federation.run(folder, journal=KillingJournal(folder, entry, before=before))
    federation.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def killing_once(when: Callable[[Passing], bool]) -> Callable[[Passing, Message], None]:
    killed: list[Passing] = []

    def kill(passing: Passing, message: Message) -> None:
        if not killed and when(passing):
            killed.append(passing)
            raise Killed

    return kill


@pytest.mark.parametrize("step", ["query.confirm", "query.unmask"])
def test_once_the_survivors_are_fixed_they_stay_even_if_the_others_come_back(
    tmp_path: Path, step: str
) -> None:
    """Killed at the third answer of the step; birch was not in the sum, and is there again."""
    five = five_sites(tmp_path / "federation").with_job(*SHORT)
    faults = {"birch": "query.mask:train/1/*=gone"}
    five.run(tmp_path / "undisturbed", grid=WatchedGrid(five, faults))
    folder = tmp_path / "killed"
    kill = killing_once(lambda passing: passing.kind == step and passing.site == "dogwood")
    with pytest.raises(Killed):
        five.run(folder, grid=WatchedGrid(five, faults, after=kill))
    assert (folder / "secure-train" / "totals.sealed").exists()
    restart_sites()
    five.run(folder)
    assert "birch" not in history_of(folder).participants[0]
    assert essence(folder) == essence(tmp_path / "undisturbed")
    assert not (folder / "secure-train").exists()


def test_shares_that_came_are_kept_so_that_a_commit_needs_no_site_any_more(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(MASKED, "job.rounds=1", "evaluation.every=1")
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 2, before=True))
    asked: list[str] = []
    lost = dict.fromkeys(SITES, "train.round/*/*=gone;query.unmask:train/*/*=gone")
    grid = WatchedGrid(federation, lost, before=lambda passing, _: asked.append(passing.place))
    federation.run(folder, grid=grid)
    assert not [place for place in asked if "train" in place]
    assert essence(folder) == essence(tmp_path / "undisturbed")


# -- the coordinator's own files are gone ----------------------------------------------------------


def test_totals_that_are_gone_before_any_share_was_shown_are_had_again(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    folder = tmp_path / "killed"
    kill = killing_once(lambda passing: passing.kind == "query.unmask")
    with pytest.raises(Killed):
        federation.run(folder, grid=WatchedGrid(federation, before=kill))
    shutil.rmtree(folder / "secure-train")
    federation.run(folder)
    assert essence(folder) == essence(undisturbed)


@pytest.mark.parametrize("damage", ["gone", "cut", "no key"])
def test_totals_that_are_lost_after_the_shares_were_shown_leave_the_round_out(
    tiny: TinyFederation, tmp_path: Path, damage: str
) -> None:
    """No site gives a second sum of a round, so there can be no second weights for it."""
    federation = tiny.with_job(MASKED, "job.rounds=3", "evaluation.every=3")
    folder = tmp_path / "killed"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 3, before=True))
    weights = last_weights(folder)
    vault = folder / "secure-train"
    if damage == "gone":
        shutil.rmtree(vault)
    elif damage == "cut":
        content = (vault / "totals.sealed").read_bytes()
        (vault / "totals.sealed").write_bytes(content[:-9])
    else:
        (vault / "round.key").unlink()
    observer = NotesObserver()
    history = federation.run(folder, observer=observer)
    assert history.participants == [list(SITES), [], list(SITES)]
    assert kinds_of(folder).count("round.dropped") == 1
    assert {code for _, number, code in codes_of(folder) if number == 2} >= {"SECAGG_CLOSED"}
    assert any("round 2 is left out" in note for note in observer.notes)
    assert not (weights == last_weights(folder)).all()


def test_test_sums_that_are_lost_after_the_shares_were_shown_are_had_when_the_run_goes_on(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    folder = tmp_path / "killed"
    federation.set_up(folder)
    final = kinds_of(undisturbed).index("evaluation.final") + 1
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, final, before=True))
    shutil.rmtree(folder / "secure-test")
    with pytest.raises(QuorumError, match="SECAGG_CLOSED") as caught:
        federation.run(folder)
    assert "--resume" in caught.value.hint
    federation.run(folder)
    assert essence(folder) == essence(undisturbed)


def test_a_damaged_checkpoint_costs_what_came_after_it_and_no_site_repeats_a_round(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    """Round 3 was begun with weights that are lost: it is left out, and round 4 has the older."""
    federation = tiny.with_job(MASKED, "evaluation.every=4")
    folder = tmp_path / "killed"
    kill = killing_once(lambda p: (p.kind, p.round, p.site) == ("query.share", 3, "cedar"))
    with pytest.raises(Killed):
        federation.run(folder, grid=WatchedGrid(federation, before=kill))
    newest = sorted(folder.glob("checkpoint-*.safetensors"))[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    history = federation.run(folder)
    assert history.finished
    assert history.participants == [list(SITES), list(SITES), [], list(SITES)]
    assert ("alder", 3, "SECAGG_WEIGHTS_DIFFER") in codes_of(folder)


def test_an_older_journal_cannot_make_sites_repeat_a_round(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    """A coordinator restored from a backup leaves out what the sites have done already."""
    federation = tiny.with_job(MASKED, "evaluation.every=4", "quorum.attempts=3")
    folder = tmp_path / "run"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 2, before=False))
    backup = tmp_path / "backup"
    shutil.copytree(folder, backup)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 4, before=False))
    history = federation.run(backup)
    assert history.participants == [list(SITES), [], [], list(SITES)]
    assert ("birch", 2, "SECAGG_ROUND_OLD") in codes_of(backup)
    assert ("birch", 3, "SECAGG_WEIGHTS_DIFFER") in codes_of(backup) or (
        "birch", 3, "SECAGG_CLOSED",
    ) in codes_of(backup)  # fmt: skip

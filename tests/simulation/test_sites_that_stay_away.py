"""Some of the sites that are cut off come back, and some do not: how long a run waits for them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cut_off_sites import FOR_GOOD, NOTICED_SECONDS, CutGrid
from tests.masked_federation import CONFIRMING, FIVE_SITES, MASKED, five_sites, restart_sites
from tests.simulation.test_resume import Killed, KillingJournal
from tests.tiny_federation import (
    FakeClock,
    TinyFederation,
    essence,
    make_federation,
)

from fedward_common.errors import QuorumError
from fedward_server.coordinator.run_journal import RunHistory

DEADLINE_SECONDS = 900.0
# What attempts and minutes of patience may take beside one wait until the deadline.
_A_FEW_MINUTES = 6 * 60.0
JOB = ("job.rounds=2", f"quorum.deadline_seconds={DEADLINE_SECONDS}", "quorum.attempts=3")
THREE_FOR_GOOD = dict.fromkeys(("alder", "birch", "cedar"), FOR_GOOD)


class Cut:
    """A run in which sites are cut off, and how long it took from then on."""

    def __init__(
        self,
        federation: TinyFederation,
        moment: tuple[str, str],
        cut: Mapping[str, float],
        faults: Mapping[str, str] | None = None,
    ) -> None:
        self.federation = federation
        self.clock = FakeClock()
        self.grid = CutGrid(federation, self.clock, moment, cut, faults=faults)

    def run(self, folder: Path) -> RunHistory:
        restart_sites()
        return self.federation.run(folder, grid=self.grid, clock=self.clock)

    @property
    def seconds(self) -> float:
        return self.clock.now - self.grid.cut_at


@pytest.mark.parametrize("settings", [("quorum.required_sites=5",), (MASKED,)])
def test_who_stays_away_ends_the_run_after_the_deadline_and_it_goes_on_once_all_are_back(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = five_sites(tmp_path).with_job(*JOB, *settings)
    federation.run(tmp_path / "undisturbed")
    cut = Cut(federation, ("train.round", ""), THREE_FOR_GOOD)
    with pytest.raises(QuorumError, match="round 2"):
        cut.run(tmp_path / "run")
    assert DEADLINE_SECONDS <= cut.seconds < DEADLINE_SECONDS + _A_FEW_MINUTES
    assert not (tmp_path / "run" / "waiting.json").exists()
    restart_sites()
    federation.run(tmp_path / "run")
    assert essence(tmp_path / "run") == essence(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "moment",
    [
        ("query.unmask", "train"),
        ("query.unmask", "validation"),
        ("evaluate.validation", ""),
        ("evaluate.final", ""),
    ],
)
def test_the_same_sites_are_waited_for_in_vain_once_a_run(
    tmp_path: Path, moment: tuple[str, str]
) -> None:
    cut = Cut(five_sites(tmp_path).with_job(*JOB, MASKED), moment, THREE_FOR_GOOD)
    with pytest.raises(QuorumError):
        cut.run(tmp_path / "run")
    assert DEADLINE_SECONDS <= cut.seconds < DEADLINE_SECONDS + 2 * _A_FEW_MINUTES


def test_who_came_back_too_late_once_is_waited_for_again_in_the_next_cut(tmp_path: Path) -> None:
    federation = five_sites(tmp_path).with_job(*JOB, "quorum.required_sites=5", "job.rounds=3")
    federation.run(tmp_path / "undisturbed")
    too_long = dict.fromkeys(THREE_FOR_GOOD, DEADLINE_SECONDS + NOTICED_SECONDS + 30)
    cut = Cut(federation, ("train.round", ""), too_long)
    cut.grid.cut_again = dict.fromkeys(THREE_FOR_GOOD, 300.0)
    cut.run(tmp_path / "run")
    assert essence(tmp_path / "run") == essence(tmp_path / "undisturbed")
    assert 300 <= cut.seconds < 300 + 2 * NOTICED_SECONDS


def test_without_masks_the_evaluation_is_then_of_those_who_are_left(tmp_path: Path) -> None:
    cut = Cut(five_sites(tmp_path).with_job(*JOB), ("evaluate.validation", ""), THREE_FOR_GOOD)
    history = cut.run(tmp_path / "run")
    assert DEADLINE_SECONDS <= cut.seconds < DEADLINE_SECONDS + _A_FEW_MINUTES
    assert history.evaluations[-1]["sites"] == ["dogwood", "elder"]
    assert history.final is not None
    assert history.final["sites"] == ["dogwood", "elder"]


def test_of_three_that_masked_and_were_cut_off_the_first_that_is_back_is_enough(
    tmp_path: Path,
) -> None:
    """Of seven sites five have to give an attempt up, and four would be enough for the next."""
    seven = make_federation(tmp_path, sites=(*FIVE_SITES, "fir", "ginkgo"))
    away = {"alder": 150.0, "birch": FOR_GOOD, "cedar": FOR_GOOD}
    cut = Cut(seven.with_job(*JOB, MASKED), ("query.confirm", "train"), away, CONFIRMING)
    history = cut.run(tmp_path / "run")
    there = [site for site in sorted(seven.homes) if away.get(site) != FOR_GOOD]
    assert history.participants == [sorted(seven.homes), there]
    assert 150 <= cut.seconds < 150 + 2 * NOTICED_SECONDS


def test_where_sites_refuse_for_want_of_others_the_run_waits_for_the_first_that_is_back(
    tmp_path: Path,
) -> None:
    """The job is content with three of five; the policies of the sites are not."""
    federation = five_sites(tmp_path).with_job(*JOB, MASKED)
    for home in federation.homes.values():
        policy = home / "policy.toml"
        told = policy.read_text()
        assert "minimum_share = 0.0" in told
        policy.write_text(told.replace("minimum_share = 0.0", "minimum_share = 0.8"))
    cut = Cut(federation, ("train.round", ""), {"alder": 400.0, "birch": FOR_GOOD})
    history = cut.run(tmp_path / "run")
    assert history.participants[1] == ["alder", "cedar", "dogwood", "elder"]
    assert 400 <= cut.seconds < 400 + 2 * NOTICED_SECONDS


def test_a_masked_evaluation_that_can_do_without_a_site_does(tmp_path: Path) -> None:
    """Another attempt would need all five to begin; this one has masked, and needs four."""
    federation = five_sites(tmp_path).with_job(*JOB, MASKED, "quorum.minimum_share=1.0")
    cut = Cut(federation, ("query.mask", "test"), {"alder": FOR_GOOD})
    history = cut.run(tmp_path / "run")
    assert history.final is not None
    assert history.final["sites"] == ["birch", "cedar", "dogwood", "elder"]
    assert cut.seconds < _A_FEW_MINUTES


def test_a_round_that_cannot_be_had_any_more_is_left_out_though_a_site_is_away(
    tmp_path: Path,
) -> None:
    federation = five_sites(tmp_path).with_job(*JOB, MASKED, "job.rounds=3", "evaluation.every=3")
    folder = tmp_path / "run"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 3, before=True))
    shutil.rmtree(folder / "secure-train")  # the shares of round 2 were shown, and its sum is lost
    cut = Cut(federation, ("train.round", ""), {"elder": FOR_GOOD})
    history = cut.run(folder)
    left = [site for site in FIVE_SITES if site != "elder"]
    assert history.participants == [list(FIVE_SITES), [], left]
    assert cut.seconds < _A_FEW_MINUTES

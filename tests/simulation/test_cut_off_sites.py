"""Most of the sites are cut off for five minutes of the clock: the run waits, and loses nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cut_off_sites import FOR_GOOD, CutGrid
from tests.masked_federation import (
    CONFIRMING,
    FAULTY_APP,
    FIVE_SITES,
    MASKED,
    codes_of,
    five_sites,
    restart_sites,
)
from tests.simulation.test_lost_messages import charged_rounds
from tests.simulation.test_resume import Killed
from tests.simulation.test_strategies import PRIVATE, SCAFFOLD
from tests.tiny_federation import (
    FakeClock,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
    make_federation,
)

CUT_SECONDS = 300.0
CUT = dict.fromkeys(("alder", "birch", "cedar"), CUT_SECONDS)
JOB = ("job.rounds=2", "quorum.required_sites=5", "quorum.deadline_seconds=900")
ALL_WAIT = "waiting for " + ", ".join(f"{site} (NODE_UNAVAILABLE)" for site in CUT)

STEPS = ("share", "mask", "confirm", "unmask")
MOMENTS = [
    *(("train.round", ""), *((f"query.{step}", "train") for step in STEPS)),
    *(("evaluate.validation", ""), *((f"query.{step}", "validation") for step in STEPS)),
    *(("evaluate.final", ""), *((f"query.{step}", "test") for step in STEPS)),
]


class KillingClock(FakeClock):
    """Kills the coordinator when it has looked for a lost site for a second."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if seconds >= 1:
            raise Killed


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    return five_sites(tmp_path_factory.mktemp("five")).with_job(*JOB)


@pytest.fixture(scope="module")
def masked(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / "run"
    five.with_job(MASKED).run(folder)
    return folder


def waited_out(
    federation: TinyFederation,
    folder: Path,
    moment: tuple[str, str],
    *,
    does_it: bool,
    faults: Mapping[str, str] | None = None,
) -> None:
    """Run with the cut, and look at what is the same for every job and moment."""
    clock, observer = FakeClock(), NotesObserver()
    grid = CutGrid(federation, clock, moment, CUT, does_it=does_it, faults=faults)
    restart_sites()
    federation.run(folder, grid=grid, clock=clock, observer=observer)
    assert ALL_WAIT in observer.notes
    assert grid.cut_at + CUT_SECONDS <= clock.now < grid.cut_at + CUT_SECONDS + 60
    kinds = [entry["kind"] for entry in entries_of(folder)]
    assert not [kind for kind in kinds if kind.endswith((".dropped", ".lost"))]
    cut_off = {site for site, _, code in codes_of(folder) if code == "NODE_UNAVAILABLE"}
    assert cut_off <= set(CUT)
    assert not (folder / "waiting.json").exists()


def asked_at(moment: tuple[str, str]) -> Mapping[str, str]:
    """Give what lets sites be asked that message at all."""
    return CONFIRMING if moment[0] == "query.confirm" else {}


@pytest.mark.parametrize("does_it", [False, True], ids=["not told", "cannot say so"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment[0]} {moment[1]}".strip())
def test_a_masked_run_waits_for_them_at_every_step_and_ends_as_if_they_had_been_there(
    five: TinyFederation, tmp_path: Path, masked: Path, moment: tuple[str, str], does_it: bool
) -> None:
    folder = tmp_path / "run"
    waited_out(five.with_job(MASKED), folder, moment, does_it=does_it, faults=asked_at(moment))
    assert essence(folder) == essence(masked)


@pytest.mark.parametrize("moment", [("query.mask", "train"), ("query.confirm", "train")])
def test_of_more_sites_enough_come_back_to_give_up_what_was_masked(
    tmp_path: Path, moment: tuple[str, str]
) -> None:
    """Of seven sites four may begin a round, and five must give it up before another attempt."""
    seven = make_federation(tmp_path, sites=(*FIVE_SITES, "fir", "ginkgo"))
    federation = seven.with_job(MASKED, *JOB, "quorum.required_sites=2", "quorum.attempts=3")
    federation.run(tmp_path / "undisturbed")
    waited_out(federation, tmp_path / "run", moment, does_it=True, faults=asked_at(moment))
    assert essence(tmp_path / "run") == essence(tmp_path / "undisturbed")


@pytest.mark.parametrize("does_it", [False, True], ids=["not told", "cannot say so"])
@pytest.mark.parametrize("moment", ["train.round", "evaluate.validation", "evaluate.final"])
@pytest.mark.parametrize(
    "settings", [(), SCAFFOLD, (MASKED, *SCAFFOLD)], ids=["open", "scaffold", "masked scaffold"]
)
def test_an_open_run_and_one_with_scaffold_wait_them_out_as_well(
    five: TinyFederation, tmp_path: Path, settings: tuple[str, ...], moment: str, does_it: bool
) -> None:
    federation = five.with_job(*settings)
    federation.run(tmp_path / "undisturbed")
    waited_out(federation, tmp_path / "run", (moment, ""), does_it=does_it)
    assert essence(tmp_path / "run") == essence(tmp_path / "undisturbed")


def test_one_that_is_there_and_sends_rubbish_does_not_end_the_wait(
    five: TinyFederation, tmp_path: Path
) -> None:
    """Two of five would do; of the two that are left one answers nothing that counts."""
    federation = five.with_job(
        "quorum.required_sites=2", "quorum.minimum_share=0.4", "quorum.attempts=3"
    )
    rubbish = {"dogwood": "train.round/2/*=unsigned"}
    waited_out(federation, tmp_path / "run", ("train.round", ""), does_it=False, faults=rubbish)
    counted = [site for site in FIVE_SITES if site != "dogwood"]
    assert history_of(tmp_path / "run").participants == [list(FIVE_SITES), counted]


def test_shares_that_came_before_a_kill_are_not_asked_for_again(
    five: TinyFederation, tmp_path: Path, masked: Path
) -> None:
    """The two that were there have revealed theirs; when it goes on only the other three are."""
    federation, folder = five.with_job(MASKED), tmp_path / "run"
    clock = KillingClock()
    grid = CutGrid(federation, clock, ("query.unmask", "train"), dict.fromkeys(CUT, FOR_GOOD))
    with pytest.raises(Killed):
        federation.run(folder, grid=grid, clock=clock)
    restart_sites()
    gone = dict.fromkeys(("dogwood", "elder"), "query.unmask:train/2/*=gone")
    federation.run(folder, client_app=FAULTY_APP, faults=gone)
    assert essence(folder) == essence(masked)


def test_a_masked_private_round_that_is_asked_for_twice_is_charged_once(tmp_path: Path) -> None:
    federation = five_sites(tmp_path).with_job(*JOB, MASKED, *PRIVATE)
    waited_out(federation, tmp_path / "run", ("query.mask", "train"), does_it=True)
    charged = charged_rounds(federation)
    assert set(charged.values()) == {1}
    assert {(site, number) for site, _, number in charged} == {
        (site, number) for site in FIVE_SITES for number in (1, 2)
    }

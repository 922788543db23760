"""Sites of a masked round that train, send or claim what they should not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.masked_federation import (
    CONFIRMING,
    FAULTY_APP,
    FIVE_SITES,
    SHORT,
    Passing,
    Vector,
    WatchedGrid,
    change_update,
    codes_of,
    five_sites,
    kinds_of,
    last_weights,
    updates_seen,
)
from tests.simulation.test_secure_rounds import all_bytes, parts_of
from tests.tiny_federation import (
    SITES,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
)

from fedward_client.daemon import site_work
from fedward_client.daemon.secure_rounds import Contribution, ready_once
from fedward_client.daemon.site_state import OpenRun, OpenSite
from fedward_common.identities import SiteId
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.wire.header import Header
from fedward_common.wire.messages import SecurePurpose, SecureReady

UNIFORM = "strategy.weighting=uniform"


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    federation = five_sites(tmp_path_factory.mktemp("five") / "federation")
    return federation.with_job(*SHORT)


@pytest.fixture(scope="module")
def without_birch(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds, of the second one site is gone before it masks."""
    folder = tmp_path_factory.mktemp("without") / "run"
    faults = {"birch": "query.mask:train/2/*=gone"}
    five.run(folder, client_app=FAULTY_APP, faults=faults)
    return folder


def _with(value: float) -> Callable[[Vector], Vector]:
    def change(update: Vector) -> Vector:
        spoiled = update.copy()
        spoiled[len(update) // 2] = value
        return spoiled

    return change


def kept_by(site: str, five: TinyFederation, run_folder: Path) -> set[str]:
    """Name the files that a site has of the second round."""
    run = five.homes[SiteId(site)] / "runs" / five.set_up(run_folder).manifest.run
    return {path.name for path in (run / "secure" / "train-00000002").glob("*")}


UNUSABLE: dict[str, tuple[Callable[[Vector], Vector], str]] = {
    "nan": (_with(np.nan), "NON_FINITE"),
    "infinity": (_with(np.inf), "NON_FINITE"),
    "too short": (lambda update: update[:-1].copy(), "WEIGHTS_MISMATCH"),
    "float64": (lambda update: update.astype(np.float64), "WEIGHTS_MISMATCH"),
}


@pytest.mark.parametrize(("change", "code"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_update_that_cannot_be_encoded_never_enters_and_the_others_go_on(
    five: TinyFederation,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Vector], Vector],
    code: str,
) -> None:
    change_update(monkeypatch, "birch", change, in_round=2)
    history = five.run(run_folder)
    assert codes_of(run_folder) == [("birch", 2, code)]
    assert history.participants[1] == [site for site in FIVE_SITES if site != "birch"]
    assert kept_by("birch", five, run_folder) <= {"over"}  # nothing that could be masked


def change_weight(monkeypatch: pytest.MonkeyPatch, weight: float) -> None:
    """Let birch find such a weight for itself in the second round."""

    def weighted(
        site: OpenSite,
        run: OpenRun,
        header: Header,
        purpose: SecurePurpose,
        layout: ContributionLayout,
        contribute: Callable[[], Contribution],
        *others: Callable[[], None],
    ) -> SecureReady:
        def made() -> Contribution:
            return dataclasses.replace(contribute(), weight=weight)

        is_changed = (site.site_id, purpose, header.round) == ("birch", "train", 2)
        make = made if is_changed else contribute
        return ready_once(site, run, header, purpose, layout, make, *others)

    monkeypatch.setattr(site_work, "ready_once", weighted)


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0 + 2**-52, 1000.0, np.nan, np.inf])
def test_a_weight_of_nothing_or_above_one_masks_nothing_and_the_others_go_on(
    five: TinyFederation,
    without_birch: Path,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    weight: float,
) -> None:
    asked: list[str] = []
    kept: dict[str, set[str]] = {"alder": set(), "birch": set()}

    def look(passing: Passing, message: Message) -> None:
        if (passing.purpose, passing.round) == ("train", 2):
            asked.append(passing.site)
            for site, files in kept.items():
                files.update(kept_by(site, five, run_folder))

    change_weight(monkeypatch, weight)
    updates = updates_seen(monkeypatch)
    history = five.run(run_folder, grid=WatchedGrid(five, before=look))
    assert codes_of(run_folder) == [("birch", 2, "CONFIGURATION")]
    assert essence(run_folder)["weights"] == essence(without_birch)["weights"]
    assert set(asked) == set(history.participants[1]) == set(FIVE_SITES) - {"birch"}
    assert kept["alder"]  # while they masked and unmasked
    assert not kept["birch"]
    assert kept_by("birch", five, run_folder) <= {"over"}
    in_clear = parts_of(updates["birch", 2])
    written = all_bytes(five.homes[SiteId("birch")])
    assert in_clear
    assert not any(part in written for part in in_clear)
    assert history.final is not None
    assert "birch" in history.final["sites"]  # it answers what it is asked next


def test_a_value_beyond_the_range_is_clipped_and_counted_and_somebody_is_told(
    tiny: TinyFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(update: Vector) -> Vector:
        moved = update.copy()
        moved[:7] = [100.0, -100.0, 5.0, 4.5, -4.1, 3.9, 4.0]
        return moved

    change_update(monkeypatch, "birch", far, in_round=2)
    observer = NotesObserver()
    federation = tiny.with_job(*SHORT, UNIFORM, "strategy.name=fedavg", "strategy.momentum=0.0")
    history = federation.run(run_folder, observer=observer)
    assert history.values_clipped == 5
    (note,) = observer.notes
    assert "5 values of updates were clipped to secure_aggregation.value_range = 4" in note


def test_an_update_of_a_hundred_times_the_norm_moves_no_weight_further_than_its_range(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = tiny.with_job(
        *SHORT, UNIFORM, "strategy.name=fedavg", "strategy.momentum=0.0",
        "strategy.ema_decay=0.0", "job.rounds=1", "evaluation.every=1",
        "secure_aggregation.value_range=0.5",
    )  # fmt: skip
    start = federation.set_up(tmp_path / "run").initial_weights()
    change_update(monkeypatch, "birch", lambda update: np.float32(100.0) * update)
    history = federation.run(tmp_path / "run")
    moved = last_weights(tmp_path / "run") - start
    assert history.values_clipped > 100
    assert np.abs(moved).max() <= 0.5 / 3 + 0.1  # the two others learn at a rate of 0.02


# -- masked vectors --------------------------------------------------------------------------------


SPOILED = {
    "cut-masked": "MALFORMED_MESSAGE",
    "masked-floats": "MALFORMED_MESSAGE",
    "cut-lane": "MALFORMED_MESSAGE",
    "flip": "UNVERIFIED_MESSAGE",
    "garbage": "MALFORMED_MESSAGE",
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_masked_vector_of_another_form_is_in_the_sum_entirely_or_not_at_all(
    five: TinyFederation, without_birch: Path, run_folder: Path, fault: str
) -> None:
    faults = {"birch": f"query.mask:train/2/*={fault}"}
    five.run(run_folder, client_app=FAULTY_APP, faults=faults)
    assert codes_of(run_folder) == [("birch", 2, SPOILED[fault])]
    assert essence(run_folder)["weights"] == essence(without_birch)["weights"]


@pytest.mark.parametrize("step", ["share", "confirm", "unmask"])
def test_a_forged_answer_to_any_other_step_leaves_its_site_out_by_a_code(
    five: TinyFederation, run_folder: Path, step: str
) -> None:
    faults = CONFIRMING | {"birch": f"query.{step}:train/2/*=other-body"}
    history = five.run(run_folder, client_app=FAULTY_APP, faults=faults)
    ((site, number, code),) = codes_of(run_folder)
    assert (site, number) == ("birch", 2)
    assert code.startswith("SECAGG_") or code == "MALFORMED_MESSAGE"
    assert ("birch" in history.participants[1]) == (step != "share")


@pytest.mark.parametrize("fault", ["counted-twice", "heavier"])
def test_a_sum_that_does_not_count_its_sites_or_their_weights_leaves_the_round_out(
    tiny: TinyFederation, run_folder: Path, fault: str
) -> None:
    observer = NotesObserver()
    federation = tiny.with_job(*SHORT)
    history = federation.run(
        run_folder,
        client_app=FAULTY_APP,
        faults={"birch": f"query.mask:train/1/*={fault}"},
        observer=observer,
    )
    assert history.participants == [[], list(SITES)]
    assert any("round 1 is left out" in note for note in observer.notes)
    assert not (run_folder / "secure-train").exists()


def test_sums_that_make_no_sense_cost_the_evaluation_and_not_the_round(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(*SHORT, "evaluation.every=1")
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    faults = {"birch": "query.mask:train/2/*=other-sums"}
    history = federation.run(folder, client_app=FAULTY_APP, faults=faults)
    assert history.participants == [list(SITES)] * 2
    assert [entry["round"] for entry in history.evaluations] == [2]
    assert codes_of(folder) == [("", 2, "MALFORMED_MESSAGE")]
    assert essence(folder)["weights"] == essence(tmp_path / "undisturbed")["weights"]


def test_test_sums_that_make_no_sense_are_asked_for_anew_when_the_run_goes_on(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    folder = tmp_path / "run"
    faults = {"birch": "query.mask:test/*/*=other-sums"}
    with pytest.raises(Exception, match="no site evaluated") as caught:
        federation.run(folder, client_app=FAULTY_APP, faults=faults)
    assert "--resume" in getattr(caught.value, "hint", "")
    assert "evaluation.lost" in kinds_of(folder)
    federation.run(folder)
    assert essence(folder) == essence(undisturbed)


# -- a gate on what nobody can look at -------------------------------------------------------------


def test_a_mean_update_that_is_too_long_is_not_taken_and_a_new_round_follows(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    """A site that lies about what it masks is caught by the sum alone (F30)."""
    federation = tiny.with_job(*SHORT, "secure_aggregation.mean_norm_limit=20.0")
    observer = NotesObserver()
    faults = {"birch": "query.mask:train/1/*=other-masked"}
    folder = tmp_path / "run"
    history = federation.run(folder, client_app=FAULTY_APP, faults=faults, observer=observer)
    assert history.participants == [[], list(SITES)]
    assert any("mean_norm_limit" in note for note in observer.notes)
    start = federation.set_up(folder).initial_weights()
    assert np.linalg.norm(last_weights(folder) - start) < 20


def test_without_a_limit_such_an_update_is_taken_and_a_limit_leaves_honest_rounds_alone(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    faults = {"birch": "query.mask:train/1/*=other-masked"}
    one = tiny.with_job(*SHORT, "job.rounds=1", "evaluation.every=1")
    one.run(tmp_path / "spoiled", client_app=FAULTY_APP, faults=faults)
    start = one.set_up(tmp_path / "spoiled").initial_weights()
    assert np.linalg.norm(last_weights(tmp_path / "spoiled") - start) > 100
    one.run(tmp_path / "honest")
    one.with_job("secure_aggregation.mean_norm_limit=20.0").run(tmp_path / "limited")
    assert essence(tmp_path / "limited") == essence(tmp_path / "honest")
    assert "round.dropped" not in kinds_of(tmp_path / "limited")
    assert entries_of(tmp_path / "limited")[1]["attempt"] == 1

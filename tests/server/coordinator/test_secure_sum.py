"""One sum over sites: what it is bound to, and that lies about shares cost nothing but a subset."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest
from flwr.app import Message
from tests.masked_federation import (
    FAULTY_APP,
    MASKED,
    Passing,
    WatchedGrid,
    codes_of,
    five_sites,
    last_weights,
)
from tests.tiny_federation import TinyFederation, essence

from fedward_common.errors import QuorumError
from fedward_common.identities import SiteId
from fedward_common.secagg.binding import weights_sha256_of
from fedward_common.secagg.layout import training_layout
from fedward_common.wire.messages import WEIGHTS, TrainRound
from fedward_server import secagg_coordinator as machine
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.coordinator.secure_answers import binding_of

ONE_ROUND = (MASKED, "job.rounds=1", "evaluation.every=1")


def test_the_keys_of_an_attempt_are_bound_to_all_that_it_is_about(
    tiny: TinyFederation, run_folder: Path
) -> None:
    setup = tiny.with_job(MASKED).set_up(run_folder)
    weights = {WEIGHTS: setup.initial_weights().tobytes()}
    question = question_of("train.round", TrainRound(False), subject_of(setup, 3, 2), weights)
    layout = training_layout(setup.job, 3, setup.manifest.num_parameters, evaluates=False)
    binding = binding_of(setup, setup.roster, "train", question, layout)
    assert dataclasses.asdict(binding) == {
        "consortium": "simulation",
        "run": setup.manifest.run,
        "purpose": "train",
        "round": 3,
        "attempt": 2,
        "manifest_sha256": setup.manifest_sha256,
        "roster_version": setup.roster.version,
        "roster_sha256": setup.roster.sha256,
        "weights_sha256": weights_sha256_of(question.arrays_sha256),
        "codec_sha256": layout.sha256,
        "suite": "S1",
    }


class LastFirst(WatchedGrid):
    """Whoever was asked last answers first, where the coordinator takes answers as they come."""

    def first_answered(self, message_ids: Iterable[str]) -> str | None:
        return list(message_ids)[-1]


def test_answers_are_taken_as_they_come_and_failures_noted_by_name(tmp_path: Path) -> None:
    five = five_sites(tmp_path / "federation").with_job(*ONE_ROUND)
    faults = dict.fromkeys(("birch", "elder"), "query.mask:train/1/1=gone")
    five.run(tmp_path / "in-order", client_app=FAULTY_APP, faults=faults)
    taken: dict[str, list[str]] = {}

    def note(passing: Passing, message: Message) -> None:
        if passing.attempt == 1 and passing.purpose == "train":
            taken.setdefault(passing.kind, []).append(passing.site)

    five.run(tmp_path / "run", grid=LastFirst(five, faults, before=note))
    for step in ("query.share", "query.mask"):
        assert len(taken[step]) == 5
        assert taken[step] == sorted(taken[step], reverse=True), step
    assert codes_of(tmp_path / "run") == codes_of(tmp_path / "in-order")
    assert essence(tmp_path / "run") == essence(tmp_path / "in-order")


def test_what_was_signed_in_advance_is_checked_while_others_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = five_sites(tmp_path / "federation").with_job(*ONE_ROUND)
    order: list[str] = []
    check = machine.verify_in_advance

    def noting(state: machine.AttemptState, site: SiteId, unverified: bytes) -> None:
        check(state, site, unverified)
        order.append(f"checked {site}")

    def note(passing: Passing, message: Message) -> None:
        if passing.kind == "query.mask" and passing.purpose == "train":
            order.append(f"asked {passing.site}")

    monkeypatch.setattr(machine, "verify_in_advance", noting)
    five.run(tmp_path / "run", grid=WatchedGrid(five, before=note))
    sites = sorted(five.homes)
    assert order[:10] == [f"{what} {site}" for site in sites for what in ("asked", "checked")]


def test_one_site_that_reveals_a_wrong_share_is_borne_and_counted(tmp_path: Path) -> None:
    five = five_sites(tmp_path / "federation").with_job(*ONE_ROUND)
    five.run(tmp_path / "undisturbed")
    faults = {"birch": "query.unmask:train/1/*=wrong-share"}
    history = five.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert history.aggregation is not None
    assert history.aggregation["wrong_shares"] == 1
    assert essence(tmp_path / "run") == essence(tmp_path / "undisturbed")


def test_two_of_five_that_reveal_wrong_shares_leave_the_round_out(tmp_path: Path) -> None:
    """Four good shares of each secret are needed, and of one there are three."""
    five = five_sites(tmp_path / "federation").with_job(*ONE_ROUND, "quorum.attempts=1")
    faults = dict.fromkeys(("birch", "elder"), "query.unmask:train/1/*=wrong-share")
    with pytest.raises(QuorumError, match="no 4 of them fit"):
        five.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)


def test_a_quorum_that_the_survivors_miss_unmasks_nothing(tmp_path: Path) -> None:
    """Four would be enough for a sum; the job wants all five."""
    five = five_sites(tmp_path / "federation").with_job(*ONE_ROUND, "quorum.required_sites=5")
    five.run(tmp_path / "undisturbed")
    faults = {"birch": "query.mask:train/1/1=gone"}
    history = five.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert history.attempts == {1: 2}
    assert (last_weights(tmp_path / "run") == last_weights(tmp_path / "undisturbed")).all()

"""What a site does with messages: believe its coordinator only, and let nothing out but codes."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray
from tests.client.daemon.asked_site import SITE, Arrays, Coordinator
from tests.tiny_federation import TinyFederation, make_federation, pictures_of

from fedward_client.daemon import site_state
from fedward_common.crypto.signing import SigningKey
from fedward_common.evaluation.sums import sums_from_vector
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import hashes_of_arrays, sign_envelope
from fedward_common.wire.flower_records import array_record, records_of
from fedward_server.simulation.federation import set_up


def test_an_acceptance_tells_the_band_and_the_unit_and_no_count(coordinator: Coordinator) -> None:
    answer = coordinator.propose()
    assert answer.message == messages.ManifestReply(10, 19, "patient")  # 12 train
    assert answer.arrays == {}


def test_an_accepted_manifest_is_stored_before_the_answer_leaves(accepted: Coordinator) -> None:
    run = accepted.setup.manifest.run
    stored = accepted.federation.homes[SITE] / "runs" / run / "manifest.cbor"
    assert stored.read_bytes() == accepted.setup.manifest_bytes


def test_a_trained_update_has_the_models_shape_and_no_more_leaves(accepted: Coordinator) -> None:
    answer = accepted.train()
    assert answer.message == messages.TrainReply(2)
    assert set(answer.arrays) == {messages.UPDATE}
    assert answer.arrays["update"].shape == accepted.weights.shape
    assert np.abs(answer.arrays["update"]).max() > 0


def test_the_same_request_gives_the_same_update_bit_for_bit(accepted: Coordinator) -> None:
    first, second = (accepted.train().arrays["update"] for _ in range(2))
    assert first.tobytes() == second.tobytes()


# -- who is believed -------------------------------------------------------------------------------


def test_a_message_that_another_key_signed_is_refused(accepted: Coordinator) -> None:
    assert accepted.train(key=SigningKey.generate()).error == "UNVERIFIED_MESSAGE"


def test_a_site_cannot_speak_as_the_coordinator(accepted: Coordinator) -> None:
    assert accepted.train(sender="alder").error == "UNVERIFIED_MESSAGE"


def test_a_message_for_another_site_is_refused(accepted: Coordinator) -> None:
    assert accepted.train(recipient="alder").error == "UNVERIFIED_MESSAGE"


def test_a_message_of_another_consortium_is_refused(accepted: Coordinator) -> None:
    answer = accepted.train(subject=accepted.subject(consortium="other"))
    assert answer.error == "UNVERIFIED_MESSAGE"


def test_records_that_are_no_message_are_refused(accepted: Coordinator) -> None:
    records = RecordDict({"x": ConfigRecord({"y": b"z"})})
    assert accepted.deliver("train.round", records).error == "MALFORMED_MESSAGE"


def test_weights_other_than_those_signed_are_refused(accepted: Coordinator) -> None:
    envelope = sign_envelope(
        accepted.key,
        subject=accepted.subject(),
        sender=COORDINATOR,
        recipient=SITE,
        kind="train.round",
        body=messages.encode_message(messages.TrainRound(evaluate=False))[1],
        arrays_sha256=hashes_of_arrays({"weights": accepted.weights}),
    )
    other = array_record({"weights": accepted.weights + np.float32(1)})
    assert accepted.deliver("train.round", records_of(envelope, other)).error == (
        "UNVERIFIED_MESSAGE"
    )


REFUSED_SUBJECTS = {
    "of an unknown run": ({"run": "deadbeef"}, "UNKNOWN_RUN"),
    "of a run that is a path": ({"run": "../../etc"}, "CONFIGURATION"),
    "of a run without a name": ({"run": ""}, "CONFIGURATION"),
    "under another manifest": ({"manifest_sha256": "ab" * 32}, "UNVERIFIED_MESSAGE"),
    "under no manifest": ({"manifest_sha256": ""}, "UNVERIFIED_MESSAGE"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED_SUBJECTS.values(), ids=REFUSED_SUBJECTS)
def test_a_message_is_refused_that_is(
    accepted: Coordinator, changes: dict[str, Any], code: str
) -> None:
    answer = accepted.train(subject=accepted.subject(**changes))
    assert answer.message == messages.Refusal(code)
    assert answer.arrays == {}


def test_a_run_that_was_never_proposed_is_unknown(coordinator: Coordinator) -> None:
    assert coordinator.train().message == messages.Refusal("UNKNOWN_RUN")


def test_a_second_manifest_for_the_same_run_is_refused(
    accepted: Coordinator, tmp_path: Path
) -> None:
    run = accepted.setup.manifest.run
    other = accepted.federation.with_job("job.rounds=9").set_up(tmp_path / "other")
    stored = accepted.federation.homes[SITE] / "runs" / other.manifest.run
    stored.mkdir(parents=True)
    shutil.copy(stored.parent / run / "manifest.cbor", stored)
    changed = Coordinator(accepted.federation, other, accepted.key)
    assert changed.propose().message == messages.Refusal("UNVERIFIED_MESSAGE")


def test_a_manifest_that_is_cut_is_refused(coordinator: Coordinator) -> None:
    setup = coordinator.setup
    query = messages.ManifestQuery(setup.manifest_bytes[:-7], setup.roster_bytes)
    answer = coordinator.ask("query.manifest", query)
    assert answer.message == messages.Refusal("MALFORMED_MESSAGE")


@pytest.mark.parametrize(
    ("flower_type", "message"),
    [
        ("train.round", messages.EvaluateWeights("validation")),
        ("evaluate.validation", messages.TrainRound(evaluate=False)),
        ("evaluate.validation", messages.EvaluateWeights("test")),
        ("evaluate.final", messages.EvaluateWeights("validation")),
        ("train.round", messages.TrainReply(1)),
        ("evaluate.final", messages.Refusal("NONE")),
    ],
)
def test_a_message_under_another_name_is_refused(
    accepted: Coordinator, flower_type: str, message: messages.Message
) -> None:
    answer = accepted.ask(flower_type, message, {messages.WEIGHTS: accepted.weights})
    assert answer.message == messages.Refusal("UNEXPECTED_KIND")
    assert answer.arrays == {}


def test_a_body_that_does_not_fit_its_kind_is_refused(accepted: Coordinator) -> None:
    assert accepted.train(body=b"\xa0").message == messages.Refusal("MALFORMED_MESSAGE")


# -- weights (F17) ---------------------------------------------------------------------------------


def _spoiled(weights: NDArray[np.float32]) -> dict[str, Arrays]:
    with_nan, with_infinity = weights.copy(), weights.copy()
    with_nan[3], with_infinity[-1] = np.nan, np.inf
    return {
        "one too few": {"weights": weights[:-1]},
        "one too many": {"weights": np.append(weights, np.float32(0))},
        "of two dimensions": {"weights": weights.reshape(1, -1)},
        "empty": {"weights": weights[:0]},
        "of whole numbers": {"weights": weights.astype(np.int64)},
        "with NaN": {"weights": with_nan},
        "with infinity": {"weights": with_infinity},
        "missing": {},
        "under another name": {"weight": weights},
    }


def test_unusable_weights_are_refused_by_name_in_training_and_evaluation(
    accepted: Coordinator,
) -> None:
    for what, arrays in _spoiled(accepted.weights).items():
        trained = accepted.train(arrays=arrays)
        assert trained.message == messages.Refusal("WEIGHTS_MISMATCH"), what
        for name, split in (("validation", "validation"), ("final", "test")):
            query = messages.EvaluateWeights("test" if split == "test" else "validation")
            answer = accepted.ask(f"evaluate.{name}", query, arrays)
            assert answer.message == messages.Refusal("WEIGHTS_MISMATCH"), what
    assert isinstance(accepted.train().message, messages.TrainReply)


def test_weights_that_make_the_loss_infinite_are_refused_and_the_next_round_is_as_ever(
    accepted: Coordinator,
) -> None:
    before = accepted.train().arrays["update"]
    exploding = np.full_like(accepted.weights, 3e38)
    answer = accepted.train(arrays={messages.WEIGHTS: exploding})
    assert answer.message == messages.Refusal("NON_FINITE")
    assert accepted.train().arrays["update"].tobytes() == before.tobytes()


# -- what is evaluated -----------------------------------------------------------------------------


def _evaluated(coordinator: Coordinator, name: str, split: str) -> int:
    query = messages.EvaluateWeights("test" if split == "test" else "validation")
    answer = coordinator.ask(f"evaluate.{name}", query, {messages.WEIGHTS: coordinator.weights})
    assert answer.message == messages.EvaluateReply()
    sums = sums_from_vector(answer.arrays[messages.SUMS], coordinator.setup.job.task)
    figure = sums.to_vector()[-1]
    return int(figure)


def test_test_patients_are_counted_in_the_final_evaluation_alone(tmp_path: Path) -> None:
    """With splits of different sizes, the support says which patients were asked."""
    pictures = [
        p for p in pictures_of("birch") if p.row["split"] != "test" or p.row["label"] == "1"
    ]
    federation = make_federation(tmp_path / "f", pictures={"birch": pictures})
    setup = federation.set_up(tmp_path / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    coordinator.propose()
    sums_file = federation.homes[SITE] / "runs" / setup.manifest.run / "test-sums.npy"
    assert _evaluated(coordinator, "validation", "validation") == 6
    answer = coordinator.ask(
        "train.round", messages.TrainRound(evaluate=True),
        {messages.WEIGHTS: coordinator.weights},
    )  # fmt: skip
    assert int(answer.arrays[messages.SUMS][-1]) == 6
    assert not sums_file.exists()
    assert _evaluated(coordinator, "final", "test") == 3
    assert int(np.load(sums_file)[-1]) == 3


def test_a_site_that_only_evaluates_does_not_train(tiny: TinyFederation, tmp_path: Path) -> None:
    others = (SiteId("alder"), SiteId("cedar"))
    federation = dataclasses.replace(tiny.in_folder(tmp_path / "run"), training_sites=others)
    setup = set_up(federation)
    coordinator = Coordinator(tiny, setup, setup.key)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    assert coordinator.train().message == messages.Refusal("NOT_A_TRAINER")
    assert _evaluated(coordinator, "final", "test") == 6


# -- the run's own limits, kept at the hospital ----------------------------------------------------


@pytest.mark.parametrize("number", [0, -3, 1_000_000])
def test_a_round_that_the_job_does_not_have_is_refused(accepted: Coordinator, number: int) -> None:
    answer = accepted.train(subject=accepted.subject(number))
    assert answer.message == messages.Refusal("ROUND_OUT_OF_RANGE")


def test_the_test_patients_are_asked_about_one_set_of_weights_a_run(accepted: Coordinator) -> None:
    def tested(weights: NDArray[np.float32]) -> Any:
        message = messages.EvaluateWeights("test")
        return accepted.ask("evaluate.final", message, {messages.WEIGHTS: weights})

    first = tested(accepted.weights)
    assert first.message == messages.EvaluateReply()
    assert tested(accepted.weights + 1).message == messages.Refusal("TEST_ALREADY_USED")
    again = tested(accepted.weights)
    np.testing.assert_array_equal(again.arrays["sums"], first.arrays["sums"])


def test_a_run_goes_on_with_the_data_it_was_accepted_with_or_not_at_all(
    accepted: Coordinator,
) -> None:
    run = accepted.federation.homes[SITE] / "runs" / accepted.setup.manifest.run
    (run / "view").write_text("0" * 64)
    site_state.forget_open_sites()
    assert accepted.train().message == messages.Refusal("E_COHORT_CHANGED")

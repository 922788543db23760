"""What a site does with each message of the coordinator.

A message counts only if the trusted coordinator signed it for this site, or for all, and it names a
run this site accepted. Answers carry what the design's table allows and nothing else; an error
leaves as its code.
"""

import io
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_client.daemon.answer_journal import Vector, keep_answer, kept_answer
from fedward_client.daemon.private_rounds import (
    commit_round,
    note_evaluation,
    share_of_joint_step_once,
    train_privately_once,
)
from fedward_client.daemon.site_state import OpenRun, OpenSite
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import (
    FedwardError,
    UnverifiedMessageError,
    WeightsMismatchError,
)
from fedward_common.identities import COORDINATOR
from fedward_common.patient_bands import band_of
from fedward_common.randomness import derive_seed
from fedward_common.wire import messages
from fedward_common.wire.envelope import (
    Arrays,
    Envelope,
    Header,
    Subject,
    hash_of_array,
    hashed,
    hashes_of_arrays,
    sign_envelope,
    verify_envelope,
)

if TYPE_CHECKING:
    from fedward_client.cohorts.source import Split
    from fedward_client.training.local_training import RoundOfTraining, TrainingOutcome
    from fedward_client.training.private_training import PrivateOutcome

Answered = tuple[messages.Message, dict[str, NDArray[np.float32] | NDArray[np.int64]]]


def answer_request(
    site: OpenSite, unverified: Envelope, arrays: Arrays, flower_type: str
) -> tuple[Envelope, Arrays]:
    """Verify a request, do what it asks, and sign the answer.

    Raises:
        FedwardError: The request cannot be believed, so nothing signed is said about it.
    """
    header = verify_envelope(unverified, arrays, lambda _: site.coordinator_key)
    _verify_addressee(site, header)
    try:
        message, answer_arrays = _dispatch(site, header, unverified, arrays, flower_type)
    except FedwardError as error:
        _log_refusal(site, header, error)
        message, answer_arrays = messages.Refusal(error.code), {}
    except Exception as error:
        # The text of a library's exception may quote a patient's data: only its type is kept.
        _log_refusal(site, header, error)
        message, answer_arrays = messages.Refusal("INTERNAL_ERROR"), {}
    sent = hashed(answer_arrays)
    return _signed(site, header, unverified, message, sent), sent


def _verify_addressee(site: OpenSite, header: Header) -> None:
    if header.sender != COORDINATOR or header.consortium != site.consortium:
        raise UnverifiedMessageError("the message is not from this consortium's coordinator")
    if header.recipient not in (site.site_id, ""):
        raise UnverifiedMessageError("the message is addressed to another site")


def _log_refusal(site: OpenSite, header: Header, error: Exception) -> None:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    code = error.code if isinstance(error, FedwardError) else type(error).__name__
    # Text of the peer never stands in the site's log, where it could pass for a line of its own.
    kind = header.kind if header.kind in messages.KINDS else "unknown kind"
    site.log.warning(
        "%s: %s in round %d: %s (%s:%d)",
        site.site_id, kind, header.round, code, frame.name, frame.lineno or 0,
    )  # fmt: skip


def _signed(
    site: OpenSite, request: Header, envelope: Envelope, message: messages.Message, arrays: Arrays
) -> Envelope:
    kind, body = messages.encode_message(message)
    subject = Subject(
        request.consortium, request.run, request.manifest_sha256, request.round, request.attempt
    )
    return sign_envelope(
        site.key,
        subject=subject,
        sender=site.site_id,
        recipient=COORDINATOR,
        kind=kind,
        body=body,
        arrays_sha256=hashes_of_arrays(arrays),
        in_reply_to=envelope.sha256,
    )


def _dispatch(
    site: OpenSite, header: Header, envelope: Envelope, arrays: Arrays, flower_type: str
) -> Answered:
    message = messages.decode_message(header.kind, envelope.body)
    if isinstance(message, messages.ManifestQuery) and flower_type == "query.manifest":
        return _consider(site, header, message), {}
    run = site.accepted_run(header.run, header.manifest_sha256)
    if isinstance(message, messages.TrainRound) and flower_type == "train.round":
        return _train(site, run, header, message, arrays)
    if isinstance(message, messages.EvaluateWeights):
        wanted = "evaluate.final" if message.split == "test" else "evaluate.validation"
        if flower_type == wanted:
            return _evaluate(site, run, header, message, arrays)
    raise UnverifiedMessageError("this kind of message is not for a site", code="UNEXPECTED_KIND")


def _consider(
    site: OpenSite, header: Header, query: messages.ManifestQuery
) -> messages.ManifestReply:
    run = site.accept(query.manifest, header.run)
    band = band_of(run.view.num_patients("train"))
    return messages.ManifestReply(band.low, band.high, run.view.unit)


def _train(
    site: OpenSite, run: OpenRun, header: Header, message: messages.TrainRound, arrays: Arrays
) -> Answered:
    from fedward_client.training.local_training import RoundOfTraining

    if site.site_id not in run.manifest.training_sites:
        raise UnverifiedMessageError("this site does not train in this run", code="NOT_A_TRAINER")
    if not 1 <= header.round <= run.job.job.rounds:
        raise UnverifiedMessageError("the job has no such round", code="ROUND_OUT_OF_RANGE")
    array = _array(arrays, messages.WEIGHTS)
    answer: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {}
    begin = time.perf_counter()
    if message.evaluate:
        named = messages.EVALUATED_WEIGHTS
        evaluated = arrays.get(named, array)
        answer[messages.SUMS] = _sums(site, run, evaluated, "validation")
    evaluation_seconds = time.perf_counter() - begin
    kept = _kept_answer(run, header)
    if kept is not None:
        return messages.TrainReply(run.job.training.local_steps), answer | kept
    weights = run.network.weights.load(array)
    round_ = RoundOfTraining(
        round_number=header.round,
        total_rounds=run.job.job.rounds,
        seed=derive_seed(run.manifest.seed, "site", site.site_id),
    )
    work = _work(site, run, round_, header.attempt, weights)
    if run.is_private:
        # Kept before the ledger says so: a round is never trained twice for one answer.
        digest = header.arrays_sha256[messages.WEIGHTS]
        keep_answer(run.folder, header.round, digest, work.name, work.vector)
        commit_round(site, run, header.round, header.attempt)
    run.note_activity(
        at_once=header.round == run.job.job.rounds,
        round=header.round,
        attempt=header.attempt,
        training_seconds=work.seconds_in_steps,
        evaluation_seconds=evaluation_seconds,
    )
    return messages.TrainReply(work.num_steps), answer | {work.name: work.vector}


def _kept_answer(run: OpenRun, header: Header) -> dict[str, Vector] | None:
    if not run.is_private:
        return None
    return kept_answer(run.folder, header.round, header.arrays_sha256[messages.WEIGHTS])


@dataclass(frozen=True)
class _Work:
    """What a round of training came to; the vector leaves under its name, the seconds stay."""

    num_steps: int
    seconds_in_steps: float
    name: str
    vector: Vector


def _work(
    site: OpenSite,
    run: OpenRun,
    round_: "RoundOfTraining",
    attempt: int,
    weights: NDArray[np.float32],
) -> _Work:
    if run.job.privacy.mechanism == "joint":
        share = share_of_joint_step_once(site, run, round_, attempt)
        return _Work(1, share.seconds_in_steps, messages.SHARES, share.values)
    outcome = _trained(site, run, round_, attempt)
    update = run.network.weights.minus(weights)
    return _Work(outcome.num_steps, outcome.seconds_in_steps, messages.UPDATE, update)


def _trained(
    site: OpenSite, run: OpenRun, round_: "RoundOfTraining", attempt: int
) -> "TrainingOutcome | PrivateOutcome":
    from fedward_client.training.local_training import pick_device, train_locally

    if run.is_private:
        return train_privately_once(site, run, round_, attempt)
    return train_locally(run.network.module, run.job, run.training_data, round_, pick_device())


def _evaluate(
    site: OpenSite, run: OpenRun, header: Header, message: messages.EvaluateWeights, arrays: Arrays
) -> Answered:
    begin = time.perf_counter()
    # Verified here, before the one set of weights that may be tested is written down.
    weights = run.network.spec.verify_flat(_array(arrays, messages.WEIGHTS))
    if message.split == "test":
        sums = _sums_on_test_once(site, run, weights)
    else:
        sums = _sums(site, run, weights, message.split)
    run.note_activity(
        at_once=True,
        round=header.round,
        split=message.split,
        training_seconds=0.0,
        evaluation_seconds=time.perf_counter() - begin,
    )
    return messages.EvaluateReply(), {messages.SUMS: sums}


def _sums_on_test_once(
    site: OpenSite, run: OpenRun, weights: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Evaluate one set of weights a run on test patients; asked again, give the same answer.

    The sums stay at home too, where a hospital sees its own figures.
    """
    used, stored = run.folder / "test-weights.sha256", run.folder / "test-sums.npy"
    digest = hash_of_array(weights).encode()
    if not used.exists():
        write_atomically(used, digest)
    elif used.read_bytes() != digest:
        raise UnverifiedMessageError(
            "other weights were tested in this run already", code="TEST_ALREADY_USED"
        )
    if stored.exists():
        known: NDArray[np.int64] = np.load(stored, allow_pickle=False)
        return known
    sums = _sums(site, run, weights, "test")
    content = io.BytesIO()
    np.save(content, sums)
    write_atomically(stored, content.getvalue())
    return sums


def _array(arrays: Arrays, name: str) -> NDArray[np.float32] | NDArray[np.int64]:
    if name not in arrays:
        raise WeightsMismatchError(f"the message has no array {name!r}")
    return arrays[name]


def _sums(
    site: OpenSite,
    run: OpenRun,
    unverified: NDArray[np.float32] | NDArray[np.int64],
    split: "Split",
) -> NDArray[np.int64]:
    from fedward_client.training.evaluation import evaluate_split

    note_evaluation(site, run, split)
    run.network.weights.load(unverified)
    return evaluate_split(run.network.module, run.job, run.view, split).to_vector()


def refusal_code(error: Exception) -> str:
    """Give the one word about an error that may leave the site."""
    return error.code if isinstance(error, FedwardError) else "INTERNAL_ERROR"

"""What a site computes when it is asked to train or to evaluate, and how that leaves.

With secure aggregation nothing leaves with the answer but fresh keys: what was computed is kept, to
be masked once the others are known. Without it the vectors go beside the answer.
"""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_client.daemon.answer_journal import AskedRound, Vector, keep_answer, kept_answer
from fedward_client.daemon.private_rounds import (
    commit_round,
    note_evaluation,
    share_of_joint_step_once,
    train_privately_once,
)
from fedward_client.daemon.scaffold_round import ScaffoldRound, scaffold_round_of
from fedward_client.daemon.secure_rounds import Contribution, ready_once
from fedward_client.daemon.site_state import OpenRun, OpenSite
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import (
    AggregationRefusedError,
    CorruptFileError,
    UnverifiedMessageError,
    WeightsMismatchError,
)
from fedward_common.patient_bands import PatientBand, band_of, weight_of
from fedward_common.randomness import derive_seed
from fedward_common.secagg.layout import ContributionLayout, evaluation_layout, training_layout
from fedward_common.secagg.refusal_codes import CODEC_DIFFERS
from fedward_common.wire import messages
from fedward_common.wire.envelope import Arrays, WireArray, hash_of_array
from fedward_common.wire.header import Header

if TYPE_CHECKING:
    from fedward_client.cohorts.source import Split
    from fedward_client.training.local_training import RoundOfTraining, TrainingOutcome
    from fedward_client.training.private_training import PrivateOutcome

Answered = tuple[messages.Message, Mapping[str, WireArray]]

_BAND = "band.json"


def published_band(run: OpenRun) -> PatientBand:
    """Give the band of training patients that was told at acceptance; later changes stay at home.

    Raises:
        CorruptFileError: The record of it is damaged.
    """
    path = run.folder / _BAND
    if not path.exists():
        band = band_of(run.view.num_patients("train"))
        write_atomically(path, json.dumps([band.low, band.high]).encode())
    try:
        low, high = json.loads(path.read_bytes())
        return PatientBand(int(low), int(high))
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{path} is damaged", hint="start a new run") from error


def layout_of_step(
    run: OpenRun, purpose: messages.SecurePurpose
) -> Callable[[str], ContributionLayout]:
    """Give what finds, by its hash, the layout that an attempt of this purpose was begun with."""
    if purpose == "train":
        known = [_training_layout(run, evaluates=due) for due in (False, True)]
    else:
        known = [_evaluation_layout(run, purpose)]
    by_hash = {layout.sha256: layout for layout in known}

    def find(sha256: str) -> ContributionLayout:
        if sha256 not in by_hash:
            raise AggregationRefusedError(
                "the attempt was begun with another layout of numbers",
                hint="the release of this site changed in the middle of a round",
                code=CODEC_DIFFERS,
            )
        return by_hash[sha256]

    return find


def answer_training(
    site: OpenSite, run: OpenRun, header: Header, message: messages.TrainRound, arrays: Arrays
) -> Answered:
    """Evaluate what is due, then train; once a round, however often it is asked for.

    Raises:
        FedwardError: The round cannot be trained here.
    """
    if site.site_id not in run.manifest.training_sites:
        raise UnverifiedMessageError("this site does not train in this run", code="NOT_A_TRAINER")
    if not 1 <= header.round <= run.job.job.rounds:
        raise UnverifiedMessageError("the job has no such round", code="ROUND_OUT_OF_RANGE")
    scaffold = scaffold_round_of(site, run, header.round, message, arrays)
    if run.job.secure_aggregation.enabled:
        return _ready_to_mask(site, run, header, message, arrays, scaffold), {}
    sums, seconds = _validation_sums(site, run, message, arrays)
    answer: dict[str, WireArray] = {} if sums is None else {messages.SUMS: sums}
    keeps = _keeps_answers(site, run, scaffold)
    kept = kept_answer(run.folder, _asked(header, scaffold)) if keeps else None
    if kept is not None:
        return messages.TrainReply(run.job.training.local_steps), {**answer, **kept}
    work = _worked(site, run, header, arrays, scaffold, evaluation_seconds=seconds)
    if keeps:
        keep_answer(run.folder, _asked(header, scaffold), work.vectors)
    if run.is_private:
        # Kept before the ledger says so: a round is never trained twice for one answer.
        commit_round(site, run, header.round, header.attempt)
    return messages.TrainReply(work.num_steps), {**answer, **work.vectors}


def _ready_to_mask(
    site: OpenSite,
    run: OpenRun,
    header: Header,
    message: messages.TrainRound,
    arrays: Arrays,
    scaffold: ScaffoldRound | None,
) -> messages.SecureReady:
    def contribute() -> Contribution:
        sums, seconds = _validation_sums(site, run, message, arrays)
        work = _worked(site, run, header, arrays, scaffold, evaluation_seconds=seconds)
        return Contribution(work.vectors, _weight_of(run), sums)

    def kept() -> None:
        if run.is_private:
            commit_round(site, run, header.round, header.attempt)

    layout = _training_layout(run, evaluates=message.evaluate)
    return ready_once(site, run, header, "train", layout, contribute, kept)


def _training_layout(run: OpenRun, *, evaluates: bool) -> ContributionLayout:
    # Made once: the constants of the joint mechanism take a calibration.
    if evaluates not in run.layouts:
        manifest = run.manifest
        num_sites = len(manifest.training_sites)
        run.layouts[evaluates] = training_layout(
            run.job, num_sites, manifest.num_parameters, evaluates=evaluates
        )
    return run.layouts[evaluates]


def _evaluation_layout(run: OpenRun, purpose: messages.SecurePurpose) -> ContributionLayout:
    if purpose == "test":
        # Not those who are left: the coordinator makes the same layout, of the run's own roster.
        return evaluation_layout(run.job, run.roster.num_sites_named)
    return evaluation_layout(run.job, len(run.manifest.training_sites))


def _weight_of(run: OpenRun) -> float:
    strategy = run.job.strategy
    if strategy.weighting == "uniform":
        return 1.0
    return weight_of(published_band(run), strategy.weight_cap_patients)


def _validation_sums(
    site: OpenSite, run: OpenRun, message: messages.TrainRound, arrays: Arrays
) -> tuple[NDArray[np.int64] | None, float]:
    begin = time.perf_counter()
    if not message.evaluate:
        return None, 0.0
    evaluated = arrays.get(messages.EVALUATED_WEIGHTS, _array(arrays, messages.WEIGHTS))
    return _sums(site, run, evaluated, "validation"), time.perf_counter() - begin


def _worked(
    site: OpenSite,
    run: OpenRun,
    header: Header,
    arrays: Arrays,
    scaffold: ScaffoldRound | None,
    *,
    evaluation_seconds: float,
) -> "_Work":
    from fedward_client.training.local_training import RoundOfTraining

    weights = run.network.weights.load(_array(arrays, messages.WEIGHTS))
    round_ = RoundOfTraining(
        round_number=header.round,
        total_rounds=run.job.job.rounds,
        seed=derive_seed(run.manifest.seed, "site", site.site_id),
        correction=scaffold.correction if scaffold else None,
    )
    work = _work(site, run, round_, header.attempt, weights, scaffold)
    run.note_activity(
        at_once=header.round == run.job.job.rounds,
        round=header.round,
        attempt=header.attempt,
        training_seconds=work.seconds_in_steps,
        evaluation_seconds=evaluation_seconds,
    )
    return work


def _keeps_answers(site: OpenSite, run: OpenRun, scaffold: ScaffoldRound | None) -> bool:
    """Whether a round that is asked for again is answered from disk.

    A simulated site without noise trains again instead, to the same weights: nothing of its is lost
    on the way, and rounds may take milliseconds.
    """
    return run.is_private or scaffold is not None or not site.is_simulated


def _asked(header: Header, scaffold: ScaffoldRound | None) -> AskedRound:
    digests = header.arrays_sha256
    asked = AskedRound(header.round, digests[messages.WEIGHTS])
    if scaffold is None:
        return asked
    own = scaffold.store.sha256_of(header.round)
    return replace(
        asked,
        control_variate_sha256=digests[messages.CONTROL_VARIATE],
        own_variate_sha256=own,
    )


@dataclass(frozen=True)
class _Work:
    """What a round of training came to; the vectors leave by their names, the seconds stay."""

    num_steps: int
    seconds_in_steps: float
    vectors: Mapping[str, Vector]


def _work(
    site: OpenSite,
    run: OpenRun,
    round_: "RoundOfTraining",
    attempt: int,
    weights: NDArray[np.float32],
    scaffold: ScaffoldRound | None,
) -> _Work:
    if run.job.privacy.mechanism == "joint":
        share = share_of_joint_step_once(site, run, round_, attempt)
        return _Work(1, share.seconds_in_steps, {messages.SHARES: share.values})
    outcome = _trained(site, run, round_, attempt)
    update = run.network.weights.minus(weights)
    vectors: dict[str, Vector] = {messages.UPDATE: update}
    if scaffold is not None:
        change = scaffold.keep_change(round_, run.job.training, update)
        vectors[messages.CONTROL_VARIATE_CHANGE] = change
    return _Work(outcome.num_steps, outcome.seconds_in_steps, vectors)


def _trained(
    site: OpenSite, run: OpenRun, round_: "RoundOfTraining", attempt: int
) -> "TrainingOutcome | PrivateOutcome":
    from fedward_client.training.local_training import pick_device, train_locally

    if run.is_private:
        return train_privately_once(site, run, round_, attempt)
    return train_locally(run.network.module, run.job, run.training_data, round_, pick_device())


def answer_evaluation(
    site: OpenSite, run: OpenRun, header: Header, message: messages.EvaluateWeights, arrays: Arrays
) -> Answered:
    """Give sums over the patients of one split.

    Raises:
        FedwardError: They cannot be had here, or not with these weights.
    """
    # Verified here, before the one set of weights that may be tested is written down.
    weights = run.network.spec.verify_flat(_array(arrays, messages.WEIGHTS))

    def evaluate() -> NDArray[np.int64]:
        begin = time.perf_counter()
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
        return sums

    if not run.job.secure_aggregation.enabled:
        return messages.EvaluateReply(), {messages.SUMS: evaluate()}
    layout = _evaluation_layout(run, message.split)
    ready = ready_once(
        site, run, header, message.split, layout, lambda: Contribution({}, 1.0, evaluate())
    )
    return ready, {}


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


def _array(arrays: Arrays, name: str) -> WireArray:
    if name not in arrays:
        raise WeightsMismatchError(f"the message has no array {name!r}")
    return arrays[name]


def _sums(
    site: OpenSite,
    run: OpenRun,
    unverified: WireArray,
    split: "Split",
) -> NDArray[np.int64]:
    from fedward_client.training.evaluation import evaluate_split

    note_evaluation(site, run, split)
    run.network.weights.load(unverified)
    return evaluate_split(run.network.module, run.job, run.view, split).to_vector()

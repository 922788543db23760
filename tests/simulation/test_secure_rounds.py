"""Runs with secure aggregation come to what they come to without, and nothing is in clear."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray
from tests.joint_federation import joint_job, make_joint_federation
from tests.masked_federation import (
    MASKED,
    SHORT,
    Passing,
    Vector,
    WatchedGrid,
    last_weights,
    updates_seen,
)
from tests.multi_label_pictures import LABELS, findings_job, findings_of
from tests.simulation.test_strategies import FEDADAM, FEDPROX, PLAIN, PRIVATE, SCAFFOLD
from tests.tiny_federation import SITES, TinyFederation, make_federation, tiny_job

from fedward_common.secagg.layout import training_layout
from fedward_common.wire import messages
from fedward_common.wire.flower_records import envelope_of
from fedward_common.wire.header import decode_header
from fedward_common.wire.run_result import ResultReceipt
from fedward_server.coordinator.run_journal import RunHistory, unpacked


def run_both(
    federation: TinyFederation, folder: Path, *settings: str
) -> tuple[RunHistory, RunHistory]:
    """Run a job with secure aggregation off and on, in `folder / "off"` and `folder / "on"`."""
    federation = federation.with_job("job.rounds=2", *settings)
    off = federation.run(folder / "off")
    return off, federation.with_job(MASKED).run(folder / "on")


def require_same_sums(off: RunHistory, on: RunHistory) -> None:
    assert off.final is not None
    assert on.final is not None
    assert on.final["sites"] == off.final["sites"]
    np.testing.assert_array_equal(unpacked(on.final["sums"]), unpacked(off.final["sums"]))
    figures = [(e["round"], e["figures"], e["sites"]) for e in on.evaluations]
    assert figures == [(e["round"], e["figures"], e["sites"]) for e in off.evaluations]


def _classes(folder: Path) -> TinyFederation:
    return make_federation(folder)


def _squares(folder: Path) -> TinyFederation:
    return make_federation(folder, tiny_job("segmentation"))


def _findings(folder: Path) -> TinyFederation:
    pictures = {site: findings_of(site) for site in SITES}
    labels = {"labels": dict(LABELS)}
    return make_federation(folder, findings_job(), pictures=pictures, settings=labels)


TASKS = {"classes": _classes, "masks": _squares, "several findings": _findings}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_the_same_weights_evaluate_to_the_same_figures_masked_or_not(
    tmp_path: Path, make: Callable[[Path], TinyFederation]
) -> None:
    # A server step too small for float32 leaves the weights as they are.
    federation = make(tmp_path / "federation")
    off, on = run_both(
        federation, tmp_path, "strategy.learning_rate=1e-12", "strategy.name=fedavg",
        "strategy.momentum=0.0", "evaluation.every=1",
    )  # fmt: skip
    masked, plain = last_weights(tmp_path / "on"), last_weights(tmp_path / "off")
    np.testing.assert_allclose(masked, plain, rtol=0, atol=1e-15)
    require_same_sums(off, on)
    assert len(on.evaluations) == 2


# Two rounds: what the first rounds off, the second trains on.
SGD = ("training.optimizer.name=sgd", "training.optimizer.learning_rate=0.02")
COARSE = (*SGD, "strategy.weighting=uniform", "secure_aggregation.bits=24")
BY_CHANCE = "secure_aggregation.stochastic_rounding=true"
# Momentum carries what a round rounds off into all later ones: 9 times as much after four rounds.
FEDAVGM = (*PLAIN, "strategy.name=fedavgm", "strategy.momentum=0.9", "job.rounds=4")
SAME_WEIGHTS: dict[str, tuple[Sequence[str], float]] = {
    "bands and a moving average": (SGD, 1e-6),
    "24 bits": (COARSE, 1e-4),
    "up or down by chance": ((*SGD, BY_CHANCE), 1e-5),
    # A step is 2**-19, and the mean of the sites is less than one off: 5e-6 after two rounds.
    "24 bits, up or down by chance": ((*COARSE, BY_CHANCE), 2e-5),
    # Of a smaller range the same bits make steps of 2**-22.
    "24 bits of a small range by chance": (
        (*COARSE, BY_CHANCE, "secure_aggregation.value_range=0.5"),
        2.5e-6,
    ),
    "fedavgm": (FEDAVGM, 1e-6),
    # The quotient stretches an error by learning_rate * (1 - beta1) / (2 * tau) at most: here 1.
    "fedadam": (FEDADAM, 1e-6),
    "fedprox": (FEDPROX, 1e-6),
    "scaffold": (SCAFFOLD, 1e-5),
    "per-site privacy": (("strategy.name=fedavg", *PLAIN, *PRIVATE), 1e-5),
    "private scaffold": ((*SCAFFOLD, *PRIVATE), 1e-5),
}


@pytest.mark.parametrize(("settings", "within"), SAME_WEIGHTS.values(), ids=SAME_WEIGHTS)
def test_training_comes_to_the_same_weights_masked_or_not(
    tiny: TinyFederation, tmp_path: Path, settings: Sequence[str], within: float
) -> None:
    off, on = run_both(tiny, tmp_path, *settings)
    assert on.participants == off.participants == [list(SITES)] * on.round
    assert not on.failures
    masked, plain = last_weights(tmp_path / "on"), last_weights(tmp_path / "off")
    assert not np.array_equal(plain, tiny.set_up(tmp_path / "new").initial_weights())
    np.testing.assert_allclose(masked, plain, rtol=0, atol=within)


def test_one_noise_for_all_sites_comes_to_the_very_same_weights(tmp_path: Path) -> None:
    federation = make_joint_federation(tmp_path / "federation")
    off, on = run_both(federation, tmp_path)
    np.testing.assert_array_equal(last_weights(tmp_path / "on"), last_weights(tmp_path / "off"))
    require_same_sums(off, on)


def test_a_ring_of_64_bits_comes_to_the_same_too(tmp_path: Path) -> None:
    job = joint_job(ring_bits=64)
    federation = make_joint_federation(tmp_path / "federation", job)
    off, on = run_both(federation, tmp_path)
    np.testing.assert_array_equal(last_weights(tmp_path / "on"), last_weights(tmp_path / "off"))
    require_same_sums(off, on)


def test_what_a_committed_round_was_is_in_the_journal(
    tiny: TinyFederation, run_folder: Path
) -> None:
    history = tiny.with_job(*SHORT).run(run_folder)
    assert history.aggregation == {
        "sites_ready": 3, "threshold": 3, "values_clipped": 0, "wrong_shares": 0,
    }  # fmt: skip
    assert history.values_clipped == 0


# -- what reaches the coordinator ------------------------------------------------------------------


@dataclasses.dataclass
class Answers:
    """Every answer of a run, as it reached the coordinator."""

    came: list[tuple[Passing, messages.Message, dict[str, NDArray[Any]]]]

    def keep(self, passing: Passing, reply: Message) -> None:
        envelope, arrays = envelope_of(reply.content)
        message = messages.decode_message(decode_header(envelope.header_bytes).kind, envelope.body)
        copies = {name: np.array(array) for name, array in arrays.items()}
        self.came.append((passing, message, copies))


def all_bytes(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def parts_of(vector: NDArray[Any], num_bytes: int = 32) -> list[bytes]:
    """Give some windows of a vector's bytes; the zeros of an untouched layer say nothing."""
    content = vector.tobytes()
    windows = [content[at : at + num_bytes] for at in range(0, len(content) - num_bytes, 997)]
    return [window for window in windows if len(set(window)) > 8]


def words_of(federation: TinyFederation, folder: Path, update: Vector) -> NDArray[np.uint32]:
    setup = federation.set_up(folder)
    layout = training_layout(setup.job, 3, setup.manifest.num_parameters, evaluates=False)
    encoded = layout.words.encode({"update": update}, 1.0, entropy=None)  # type: ignore
    words: NDArray[np.uint32] = encoded.words
    return words


def test_no_message_has_a_vector_that_is_not_masked(
    tiny: TinyFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = tiny.with_job(*SHORT, "evaluation.every=1", "strategy.weighting=uniform")
    updates, answers = updates_seen(monkeypatch), Answers([])
    federation.run(run_folder, grid=WatchedGrid(federation, after=answers.keep))
    arrays = [set(arrays) for _, _, arrays in answers.came if arrays]
    assert arrays == [{"masked", "lane"}] * 3 * 4  # two rounds, validation and test
    kinds = {type(message) for _, message, _ in answers.came}
    assert kinds == {
        messages.ManifestReply, messages.SecureReady, messages.SecureStepReply, ResultReceipt,
    }  # fmt: skip
    for passing, _, sent in answers.came:
        if passing.kind == "query.mask" and passing.purpose == "train":
            words = words_of(federation, run_folder, updates[passing.site, passing.round])
            masked = sent["masked"].view(np.uint32)
            assert masked.shape == words.shape
            assert np.mean(masked == words) < 1e-3
            assert sent["lane"][0] != 1
    plain = b"".join(array.tobytes() for _, _, sent in answers.came for array in sent.values())
    for update in updates.values():
        assert not any(part in plain for part in parts_of(update))


def test_no_file_has_an_update_in_clear_while_a_round_is_under_way_or_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for as float32 and as the whole numbers that are masked."""
    federation = make_federation(tmp_path / "federation").with_job(
        *SHORT, "strategy.weighting=uniform"
    )
    updates, run = updates_seen(monkeypatch), tmp_path / "run"
    looked: list[int] = []

    def look(passing: Passing, message: Message) -> None:
        # Every site has trained by now, and the last of them is about to go on.
        if passing.purpose != "train" or passing.site != SITES[-1] or passing.round != 2:
            return
        written = all_bytes(run) + all_bytes(tmp_path / "federation" / "sites")
        for update in updates.values():
            words = words_of(federation, run, update)
            assert not any(part in written for part in parts_of(update) + parts_of(words))
        looked.append(len(written))

    federation.run(run, grid=WatchedGrid(federation, before=look))
    assert len(looked) == 4
    assert len(updates) == 6
    look(Passing("end", "train", 2, 1, SITES[-1]), None)  # type: ignore[arg-type]


def test_that_look_finds_an_update_that_is_in_clear(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = updates_seen(monkeypatch)
    tiny.with_job("job.rounds=1", "evaluation.every=1").run(tmp_path / "run")
    update = updates["birch", 1]
    (tmp_path / "run" / "stray").write_bytes(b"x" + update.tobytes())
    assert all(part in all_bytes(tmp_path / "run") for part in parts_of(update))
    assert len(parts_of(update)) > 10

"""The last two checkpoints are kept with what a return to the older one needs, and no more."""

from pathlib import Path

import numpy as np
import pytest

from fedward_common.errors import CorruptFileError
from fedward_server.coordinator.checkpoints import CheckpointStore
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.run_journal import RunHistory
from fedward_server.optimizers import FedAvgM

NUM_PARAMETERS = 9


def fresh_model() -> GlobalModel:
    start = np.zeros(NUM_PARAMETERS, dtype=np.float32)
    return GlobalModel(start.tobytes(), FedAvgM(1.0, 0.5, NUM_PARAMETERS), 0.5)


def after_rounds(folder: Path, count: int, *, bests: tuple[int, ...] = ()) -> RunHistory:
    """Save `count` rounds as the round loop does; round r's weights are judged in round r + 1."""
    store, model, history = CheckpointStore(folder), fresh_model(), RunHistory()
    for number in range(1, count + 1):
        if number - 1 in bests:
            history.bests.append(
                {"round": number - 1, **store.save_best(number - 1, model.evaluated)}
            )
        model.begin_round()
        model.add(np.full(NUM_PARAMETERS, float(number), dtype=np.float32), 1.0)
        model.commit_round()
        history.participants.append(["alder"])
        history.checkpoints.append((number, *store.save(model)))
        store.prune(history)
    return history


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    after_rounds(tmp_path, 5)
    assert names_in(tmp_path) == [
        ".spare-checkpoint", "checkpoint-000004.safetensors", "checkpoint-000005.safetensors",
    ]  # fmt: skip


def test_a_finished_run_keeps_no_file_for_a_next_checkpoint(tmp_path: Path) -> None:
    history = after_rounds(tmp_path, 5)
    history.finished = True
    CheckpointStore(tmp_path).prune(history)
    assert names_in(tmp_path) == [
        "checkpoint-000004.safetensors", "checkpoint-000005.safetensors",
    ]  # fmt: skip


def test_of_the_bests_those_are_kept_that_a_return_to_the_older_checkpoint_needs(
    tmp_path: Path,
) -> None:
    history = after_rounds(tmp_path, 6, bests=(1, 2, 5))
    kept = [name for name in names_in(tmp_path) if name.startswith("best")]
    assert kept == ["best-000002.safetensors", "best-000005.safetensors"]
    history.forget_after(5)
    assert history.best is not None
    weights = CheckpointStore(tmp_path).load_weights(history.best)
    assert history.best["round"] == 2
    assert weights.shape == (NUM_PARAMETERS,)


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-000001.safetensors.99.tmp").write_bytes(b"half")
    after_rounds(tmp_path, 1)
    assert names_in(tmp_path) == ["checkpoint-000001.safetensors"]


def test_the_newest_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    history, restored = after_rounds(tmp_path, 3), fresh_model()
    assert CheckpointStore(tmp_path).restore_newest(restored, history) == []
    assert restored.round == 3
    saved = restored.tensors()
    assert sorted(saved) == ["averaged", "optimizer.momentum", "weights"]
    assert saved["optimizer.momentum"].tolist() == [4.25] * NUM_PARAMETERS  # 3 + (2 + 1/2)/2


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    history, restored = after_rounds(tmp_path, 3), fresh_model()
    newest = tmp_path / "checkpoint-000003.safetensors"
    content = newest.read_bytes()
    if damage == "gone":
        newest.unlink()
    else:
        flipped = bytes([content[0] ^ 1]) + content[1:]
        newest.write_bytes({"flip": flipped, "cut": content[:-1], "empty": b""}[damage])
    (line,) = CheckpointStore(tmp_path).restore_newest(restored, history)
    assert newest.name in line
    assert restored.round == 2


def test_with_no_checkpoint_good_in_the_first_rounds_the_initial_weights_are_used(
    tmp_path: Path,
) -> None:
    history, restored = after_rounds(tmp_path, 2), fresh_model()
    initial = restored.weights
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(b"")
    assert len(CheckpointStore(tmp_path).restore_newest(restored, history)) == 2
    assert (restored.round, restored.weights) == (0, initial)


def test_any_single_bit_flip_is_found(tmp_path: Path) -> None:
    history = after_rounds(tmp_path, 3)
    (tmp_path / "checkpoint-000002.safetensors").unlink()
    path = tmp_path / "checkpoint-000003.safetensors"
    content = path.read_bytes()
    store = CheckpointStore(tmp_path)
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError):
            store.restore_newest(fresh_model(), history)


def test_the_last_weights_of_a_run_with_a_moving_average_are_the_average(tmp_path: Path) -> None:
    history, model = after_rounds(tmp_path, 2), fresh_model()
    store = CheckpointStore(tmp_path)
    store.restore_newest(model, history)
    assert store.load_last(history).tobytes() == model.averaged != model.weights

"""Checkpoints of a run: the last two kept, the best beside them, each known by its SHA-256.

A checkpoint is written and synced before the journal names it, so a journal never names a file that
is not whole. One whose bytes changed since is refused, and the one before is used.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import CorruptFileError
from fedward_common.tensor_file import read_tensors, write_tensors
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.run_journal import RunHistory

KEPT = 2
_SPARE = ".spare-checkpoint"


class CheckpointStore:
    """Files of one run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The file of the next checkpoint, which an old one gives while the run goes on.
        self._spare = folder / _SPARE

    def save(self, model: GlobalModel) -> tuple[str, str]:
        """Write the state after a round; give the file's name and SHA-256."""
        name = f"checkpoint-{model.round:06d}.safetensors"
        digest = write_tensors(
            self._folder / name, model.tensors(), {"round": str(model.round)}, over=self._spare
        )
        return name, digest

    def save_best(self, round_number: int, weights: bytes) -> dict[str, Any]:
        """Write the best weights so far; give the entry that names them."""
        name = f"best-{round_number:06d}.safetensors"
        vector = np.frombuffer(weights, dtype=np.float32)
        digest = write_tensors(
            self._folder / name, {"weights": vector}, {"round": str(round_number)}
        )
        return {"file": name, "sha256": digest, "weights_sha256": _sha256(weights)}

    def load_weights(self, best: dict[str, Any]) -> NDArray[np.float32]:
        """Read weights that `save_best` wrote.

        Raises:
            CorruptFileError: They changed on disk.
        """
        return read_tensors(self._folder / best["file"], best["sha256"])["weights"]

    def load_last(self, history: RunHistory) -> NDArray[np.float32]:
        """Read the weights after the last round: the moving average where the run keeps one.

        Raises:
            CorruptFileError: They changed on disk.
        """
        _, name, digest = history.checkpoints[-1]
        tensors = read_tensors(self._folder / name, digest)
        return tensors.get("averaged", tensors["weights"])

    def prune(self, history: RunHistory) -> None:
        """Remove what neither the last two checkpoints nor a return to one of them needs.

        Called after the journal names the newest, so nothing a resumed run needs goes. One old
        checkpoint stays as the next one's file, until the run is finished.
        """
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        needed = _needed(history)
        unneeded = [name for name in names if _is_of_a_store(name) and name not in needed]
        if not history.finished:
            for name in [n for n in unneeded if n.startswith("checkpoint-")][:1]:
                (self._folder / name).replace(self._spare)
                unneeded = [n for n in unneeded if n not in (name, _SPARE)]
        for name in unneeded:
            (self._folder / name).unlink(missing_ok=True)

    def restore_newest(self, model: GlobalModel, history: RunHistory) -> list[str]:
        """Bring `model`, at the initial weights, to the newest checkpoint that is still good.

        Returns:
            One line a checkpoint that had to be passed over, with both hashes.

        Raises:
            CorruptFileError: None of the kept checkpoints is good.
        """
        passed_over: list[str] = []
        for number, name, digest in reversed(history.checkpoints[-KEPT:]):
            try:
                tensors = read_tensors(self._folder / name, digest)
            except CorruptFileError as error:
                passed_over.append(str(error))
                continue
            model.restore(tensors, number)
            return passed_over
        if len(history.checkpoints) <= KEPT:
            return passed_over  # the initial weights are the state before round 1
        raise CorruptFileError(
            f"no usable checkpoint in {self._folder}: " + "; ".join(passed_over),
            hint="start the run anew in another folder",
        )


def _needed(history: RunHistory) -> set[str]:
    kept = history.checkpoints[-KEPT:]
    oldest = kept[0][0] if kept else 0
    earlier = [best["file"] for best in history.bests if best["round"] < oldest]
    later = [best["file"] for best in history.bests if best["round"] >= oldest]
    return {name for _, name, _ in kept} | set(earlier[-1:]) | set(later)


def _is_of_a_store(name: str) -> bool:
    weights = name.startswith(("checkpoint-", "best-")) and name.endswith(".safetensors")
    half_written = name.startswith(".") and name.endswith(".tmp")
    return weights or half_written or name == _SPARE


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""The last answer of a run's training, kept until the next round: no round is trained twice.

Asked again for a round, after a crash or when the quorum failed, a site gives the same answer: with
fresh noise, a second one would tell more of the same patients.
"""

import contextlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError
from fedward_common.tensor_file import read_tensors, write_tensors

_ANSWER = "update.safetensors"
_INDEX = "update.json"

Vector = NDArray[np.float32] | NDArray[np.int64]


def keep_answer(
    run_folder: Path, round_number: int, weights_sha256: str, name: str, answer: Vector
) -> None:
    """Write the one vector that answers a round down, over the one before."""
    # The file knows float32 alone; whole numbers lie in it by their bits.
    digest = write_tensors(run_folder / _ANSWER, {name: answer.view(np.float32)}, {})
    entry = {
        "round": round_number,
        "weights_sha256": weights_sha256,
        "sha256": digest,
        "name": name,
        "dtype": answer.dtype.name,
    }
    write_atomically(run_folder / _INDEX, json.dumps(entry).encode())


def kept_answer(
    run_folder: Path, round_number: int, weights_sha256: str
) -> dict[str, Vector] | None:
    """Give the vector, by its name, that was kept for this round and these weights, if whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CorruptFileError):
        entry = json.loads((run_folder / _INDEX).read_bytes())
        if (entry["round"], entry["weights_sha256"]) == (round_number, weights_sha256):
            name = entry["name"]
            kept = read_tensors(run_folder / _ANSWER, entry["sha256"])[name]
            return {name: kept.view(np.int64) if entry["dtype"] == "int64" else kept}
    return None

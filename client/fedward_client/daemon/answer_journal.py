"""The last answer of a run's training, kept until the next round: no round is trained twice.

Asked again for a round, after a crash, when the quorum failed or where the answer was lost, a site
gives the same answer: with fresh noise, a second one would tell more of the same patients, and
without any it would cost the time once more.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError
from fedward_common.tensor_file import read_tensors, write_tensors

_ANSWER = "update.safetensors"
_INDEX = "update.json"

Vector = NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True)
class AskedRound:
    """What makes two requests the same question, and what the answer belongs to.

    Attributes:
        round: Its number.
        weights_sha256: Of the global weights that came.
        control_variate_sha256: Of the global control variate that came; empty without SCAFFOLD.
        own_variate_sha256: Of the site's own that the answer made; empty without SCAFFOLD.
    """

    round: int
    weights_sha256: str
    control_variate_sha256: str = ""
    own_variate_sha256: str = ""


def keep_answer(run_folder: Path, asked: AskedRound, answer: Mapping[str, Vector]) -> None:
    """Write the vectors that answer a round down, by name, over those before."""
    # The file knows float32 alone; whole numbers lie in it by their bits.
    vectors = {name: vector.view(np.float32) for name, vector in answer.items()}
    entry = {
        "asked": dataclasses.asdict(asked),
        "sha256": write_tensors(run_folder / _ANSWER, vectors, {}),
        "dtypes": {name: vector.dtype.name for name, vector in answer.items()},
    }
    write_atomically(run_folder / _INDEX, json.dumps(entry).encode())


def kept_answer(run_folder: Path, asked: AskedRound) -> dict[str, Vector] | None:
    """Give the vectors, by name, that were kept for this question, if whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CorruptFileError):
        entry = json.loads((run_folder / _INDEX).read_bytes())
        if entry["asked"] == dataclasses.asdict(asked):
            kept = read_tensors(run_folder / _ANSWER, entry["sha256"])
            return {
                name: kept[name].view(np.int64) if dtype == "int64" else kept[name]
                for name, dtype in entry["dtypes"].items()
            }
    return None

"""This site's control variates of one run, each by the round that made it.

Which one the run goes on from is the coordinator's to say: the one of the last committed round
that the site's answer was part of. It names the round in each request, for a site cannot know
whether its answer came in time. Nothing secret hangs on it: each is a function of answers that left
already.

Besides the newest and the named one, the one before stays: a coordinator whose newest checkpoint
was damaged does a round again.
"""

import contextlib
import json
from pathlib import Path

import numpy as np

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError
from fedward_common.models.parameter_spec import FlatWeights
from fedward_common.tensor_file import read_tensors, write_tensors

_INDEX = "control-variates.json"
_TENSOR = "control-variate"


class OwnVariates:
    """The files of one run's folder.

    Args:
        run_folder: Of the site.

    Raises:
        CorruptFileError: The list of them is damaged.
    """

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._hashes = _read_index(run_folder / _INDEX)

    def after(self, round_number: int, num_parameters: int) -> FlatWeights:
        """Give the variate that a round made; before the first, round 0, it is 0.

        Raises:
            CorruptFileError: It is gone or damaged.
        """
        if round_number == 0:
            return np.zeros(num_parameters, dtype=np.float32)
        if round_number not in self._hashes:
            raise CorruptFileError(
                f"the control variate of round {round_number} is not in {self._folder}",
                hint="start a new run; this site cannot go on in this one",
            )
        path = self._folder / _name_of(round_number)
        return read_tensors(path, self._hashes[round_number])[_TENSOR]

    def sha256_of(self, round_number: int) -> str:
        """Give the hash of the file of a round, empty where there is none."""
        return self._hashes.get(round_number, "")

    def keep(self, round_number: int, variate: FlatWeights, *, counted_round: int) -> None:
        """Write down what a round made, and drop what no request can name any more.

        Args:
            round_number: The round.
            variate: Shape (num_parameters,).
            counted_round: The round that it was made from.
        """
        path = self._folder / _name_of(round_number)
        digest = write_tensors(path, {_TENSOR: variate}, {"round": str(round_number)})
        earlier = [number for number in self._hashes if number < counted_round]
        needed = {counted_round, *sorted(earlier)[-1:]} & self._hashes.keys()
        kept = {n: self._hashes[n] for n in sorted(needed) if n < round_number}
        self._hashes = kept | {round_number: digest}
        text = json.dumps({str(number): digest for number, digest in self._hashes.items()})
        write_atomically(self._folder / _INDEX, text.encode(), mode=0o600)
        names = {_name_of(number) for number in self._hashes}
        for file in self._folder.glob("control-variate-*.safetensors"):
            if file.name not in names:
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()


def _name_of(round_number: int) -> str:
    return f"control-variate-{round_number:06d}.safetensors"


def _read_index(path: Path) -> dict[int, str]:
    try:
        return {
            int(number): str(digest) for number, digest in json.loads(path.read_bytes()).items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise CorruptFileError(f"{path} is damaged", hint="start a new run") from error

"""Which sums over validation or test patients are out, and of which sites.

The sums of one site under the same weights are the same each time. Added up over other sites than
before, the difference of the two totals would be what one site has. So a site that revealed its
share of a total confirms no total of the same weights over any other sites, in the whole run.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import AggregationRefusedError, CorruptFileError
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.messages import ConfirmRequest, decode

_TRAINING = "train"


@dataclass(frozen=True)
class ToldSums:
    """The record of one run."""

    run_folder: Path

    def require_same_sites(self, binding: RoundBinding, confirm_request: bytes) -> None:
        """Check a list of survivors before it is confirmed.

        Raises:
            AggregationRefusedError: `SECAGG_MASKED_BEFORE`.
            MalformedMessageError: The request is not canonical.
            CorruptFileError: The record is damaged.
        """
        if binding.purpose == _TRAINING:
            return
        told = self._read().get(_name_of(binding))
        if told is not None and list(decode(ConfirmRequest, confirm_request).survivors) != told:
            raise AggregationRefusedError(
                f"sums over {binding.purpose} patients were told over other sites before",
                hint="the difference of the two totals would show the sums of one site",
                code=codes.MASKED_BEFORE,
            )

    def note(self, binding: RoundBinding, survivors: tuple[str, ...]) -> None:
        """Write down whose sums a total has, before the shares that reveal it leave.

        Raises:
            CorruptFileError: The record is damaged.
        """
        if binding.purpose == _TRAINING:
            return
        told = self._read() | {_name_of(binding): list(survivors)}
        write_atomically(self._path, json.dumps(told).encode(), mode=0o600)

    @property
    def _path(self) -> Path:
        return self.run_folder / "told_sums.json"

    def _read(self) -> dict[str, list[str]]:
        try:
            told: dict[str, list[str]] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CorruptFileError(f"{self._path} is damaged", hint="start a new run") from error
        return told


def _name_of(binding: RoundBinding) -> str:
    return f"{binding.purpose}:{binding.weights_sha256}"

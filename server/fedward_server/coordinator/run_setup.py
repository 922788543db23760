"""A run's folder: what the coordinator must have before the first round.

```
manifest.cbor         the manifest's canonical bytes
roster.cbor           the signed roster that the manifest names
initial.safetensors   initial weights
answer.key            what sealed answers are opened with, where the manifest names its public half
entries.jsonl         the journal;  checkpoint-*.safetensors, best-*.safetensors beside it
receipt-SITE.cbor     what each site signed for the result that it was told
```
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.roster import Roster, verify_roster
from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, FedwardError, MalformedMessageError
from fedward_common.job.job_file import Job
from fedward_common.tensor_file import read_tensors, write_tensors
from fedward_common.wire.manifest import (
    Manifest,
    decode_manifest,
    hash_of_manifest,
    require_goes_on,
)

_MANIFEST = "manifest.cbor"
_ROSTER = "roster.cbor"
_ROSTER_BEFORE_CERTIFICATES = "roster.json"
_INITIAL = "initial.safetensors"
_ANSWER_KEY = "answer.key"


@dataclass(frozen=True)
class RunSetup:
    """Everything fixed for the whole run.

    Attributes:
        roster: What the signed `roster_bytes` say; the manifest names them.
        answer_key: Opens what sites seal; None where they seal nothing.
    """

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    job: Job
    roster: Roster
    roster_bytes: bytes
    key: SigningKey
    answer_key: HybridPrivateKey | None = None

    @functools.cached_property
    def manifest_sha256(self) -> str:
        """What every envelope of the run names."""
        return hash_of_manifest(self.manifest_bytes)

    def initial_weights(self) -> NDArray[np.float32]:
        """Read the initial weights.

        Raises:
            CorruptFileError: They are not the ones the manifest names.
        """
        digest = self.manifest.initial_weights_sha256
        return read_tensors(self.folder / _INITIAL, digest)["weights"]


def write_initial_weights(folder: Path, weights: NDArray[np.float32]) -> str:
    """Write initial weights; give the SHA-256 that the manifest names."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_tensors(folder / _INITIAL, {"weights": weights}, {"round": "0"})


def write_run_setup(folder: Path, manifest_bytes: bytes, roster_bytes: bytes) -> None:
    """Write manifest and signed roster; with them there, a run can begin or go on."""
    write_atomically(folder / _ROSTER, roster_bytes)
    write_atomically(folder / _MANIFEST, manifest_bytes)


def make_answer_key(folder: Path) -> bytes:
    """Make the key that answers of a run are sealed to; give its public half for the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    private = HybridPrivateKey.generate(os.urandom)
    write_atomically(folder / _ANSWER_KEY, private.to_secret().reveal(), mode=0o600)
    return private.public.to_bytes()


def _read_answer_key(folder: Path, manifest: Manifest) -> HybridPrivateKey | None:
    if not manifest.answer_key:
        return None
    file = folder / _ANSWER_KEY
    try:
        private = HybridPrivateKey.from_secret(SecretBytes(file.read_bytes()))
    except (OSError, MalformedMessageError) as error:
        raise ConfigurationError(
            f"{file} is gone or damaged; without it no answer can be opened",
            hint="restore it, or start anew in another folder",
        ) from error
    if private.public.to_bytes() != manifest.answer_key:
        raise ConfigurationError(
            f"{file} is not the key that the run's manifest names",
            hint="restore it, or start anew in another folder",
        )
    return private


def require_run_goes_on(folder: Path, manifest: Manifest) -> None:
    """Check that a run of an earlier release can go on in this one.

    Raises:
        MalformedMessageError: It is of a protocol or suite that is not spoken here.
    """
    try:
        require_goes_on(manifest)
    except MalformedMessageError as error:
        raise MalformedMessageError(
            f"the run in {folder} cannot go on: {error}",
            hint="start it anew; what is kept of it stays readable",
            code=error.code,
        ) from error


def read_run_setup(
    folder: Path, key_file: Path, *, now_seconds: float, as_record: bool = False
) -> RunSetup:
    """Read a run's folder and the coordinator's key, and check the run's roster.

    Args:
        folder: Of the run.
        key_file: The coordinator's key; the authority's certificate lies beside it.
        now_seconds: Since 1970, UTC.
        as_record: The run is looked at and does not go on, so any release's will do.

    Raises:
        ConfigurationError: The folder holds no run, or its roster counts no longer.
        MalformedMessageError: The run is of a protocol or suite that is not spoken here.
    """
    try:
        manifest_bytes = (folder / _MANIFEST).read_bytes()
        _require_signed_roster(folder)
        roster_bytes = (folder / _ROSTER).read_bytes()
        key = SigningKey.from_raw(bytes.fromhex(key_file.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{folder} holds no run that can go on", hint="start it anew in another folder"
        ) from error
    manifest = decode_manifest(manifest_bytes, as_record=True)
    if not as_record:
        require_run_goes_on(folder, manifest)
    roster = roster_beside(key_file, roster_bytes, now_seconds=now_seconds)
    if (roster.version, roster.sha256) != (manifest.roster_version, manifest.roster_sha256):
        raise ConfigurationError(
            f"{folder / _ROSTER} is not the roster that the run's manifest names",
            hint="restore it, or start anew in another folder",
        )
    if roster.entry_of(manifest.coordinator).key.raw != key.verifying_key.raw:
        raise ConfigurationError(
            f"{key_file} is not the coordinator's key in the run's roster",
            hint="restore it, or start anew in another folder",
        )
    answer_key = _read_answer_key(folder, manifest)
    return RunSetup(
        folder, manifest, manifest_bytes, manifest.job, roster, roster_bytes, key, answer_key
    )


def authority_file_beside(key_file: Path) -> Path:
    """Name the file with the authority's certificate that a coordinator pinned."""
    return key_file.with_name("authority.der")


def roster_beside(key_file: Path, unverified: bytes, *, now_seconds: float) -> Roster:
    """Check a roster with the authority's certificate beside the coordinator's key.

    Raises:
        ConfigurationError: The certificate is missing, or the roster does not hold.
    """
    from fedward_common.consortium.certificates import read_authority

    file = authority_file_beside(key_file)
    try:
        return verify_roster(unverified, read_authority(file.read_bytes()), now_seconds=now_seconds)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read", hint="restore it") from error
    except FedwardError as error:
        raise ConfigurationError(
            f"the run's roster cannot be used: {error}",
            hint=error.hint or "restore it, or start anew in another folder",
            code=error.code,
        ) from error


def _require_signed_roster(folder: Path) -> None:
    if (folder / _ROSTER_BEFORE_CERTIFICATES).exists() and not (folder / _ROSTER).exists():
        raise ConfigurationError(
            f"{folder} holds a run of an earlier release, whose sites have no certificates",
            hint="finish it with the release it began with, or start anew in another folder",
        )


def has_run(folder: Path) -> bool:
    """Say whether a run was set up in this folder."""
    return (folder / _MANIFEST).is_file()

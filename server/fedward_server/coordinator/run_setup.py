"""A run's folder: what the coordinator must have before the first round.

```
manifest.cbor         the manifest's canonical bytes
roster.json           site -> public key
initial.safetensors   initial weights
entries.jsonl         the journal;  checkpoint-*.safetensors, best-*.safetensors beside it
```
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import write_atomically
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.tensor_file import read_tensors, write_tensors
from fedward_common.wire.manifest import Manifest, decode_manifest, hash_of_manifest

_MANIFEST = "manifest.cbor"
_ROSTER = "roster.json"
_INITIAL = "initial.safetensors"


@dataclass(frozen=True)
class RunSetup:
    """Everything fixed for the whole run."""

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    job: Job
    roster: Mapping[SiteId, VerifyingKey]
    key: SigningKey

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


def write_run_setup(
    folder: Path, manifest_bytes: bytes, roster: Mapping[SiteId, VerifyingKey]
) -> None:
    """Write manifest and roster; with them there, a run can begin or go on."""
    table = {site: key.raw.hex() for site, key in sorted(roster.items())}
    write_atomically(folder / _ROSTER, json.dumps(table, indent=1).encode())
    write_atomically(folder / _MANIFEST, manifest_bytes)


def read_run_setup(folder: Path, key_file: Path) -> RunSetup:
    """Read a run's folder and the coordinator's key.

    Raises:
        ConfigurationError: The folder holds no run.
    """
    try:
        manifest_bytes = (folder / _MANIFEST).read_bytes()
        roster = json.loads((folder / _ROSTER).read_text())
        key = SigningKey.from_raw(bytes.fromhex(key_file.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{folder} holds no run that can go on", hint="start it anew in another folder"
        ) from error
    manifest = decode_manifest(manifest_bytes)
    keys = {SiteId(s): VerifyingKey(bytes.fromhex(k)) for s, k in sorted(roster.items())}
    return RunSetup(folder, manifest, manifest_bytes, manifest.job, keys, key)


def has_run(folder: Path) -> bool:
    """Say whether a run was set up in this folder."""
    return (folder / _MANIFEST).is_file()

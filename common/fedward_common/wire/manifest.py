"""The manifest: one run of one job, every key resolved, nothing left to a default.

Its canonical bytes are what sites accept; their SHA-256 stands in every later envelope of the run.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from fedward_common.crypto.suite import SUITE
from fedward_common.errors import ConfigurationError, MalformedMessageError
from fedward_common.job.job_file import Job, job_from_table, table_of_job
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass
from fedward_common.wire.protocol_versions import newest_version, require_spoken


@dataclass(frozen=True)
class Manifest:
    """What every site of a run agrees to.

    Attributes:
        job: Table of the resolved job, as `table_of_job` gives it.
        seed: Batch order and augmentation derive from it; no privacy noise ever does.
        training_sites: Who trains; other sites of the run only evaluate.
        roster_version: Of the roster that the run's keys and organisations come from.
        roster_sha256: Of that roster's signed bytes.
        suite: Of algorithms; fixed here and never negotiated.
        answer_key: The coordinator's public key that vectors of answers are sealed to, where they
            are not masked; empty where nothing lies between a site and the coordinator.
    """

    protocol: int
    consortium: str
    run: str
    coordinator: str
    job_table: bytes
    seed: int
    initial_weights_sha256: str
    parameter_spec_sha256: str
    num_parameters: int
    training_sites: tuple[str, ...]
    roster_version: int
    roster_sha256: str
    suite: str
    answer_key: bytes

    @property
    def job(self) -> Job:
        """The job.

        Raises:
            MalformedMessageError: The table is no valid job.
        """
        try:
            return job_from_table(decode_canonically(self.job_table))
        except ConfigurationError as error:
            raise MalformedMessageError(f"the manifest's job: {error}", code=error.code) from error


def make_manifest(
    job: Job,
    *,
    consortium: str,
    run: str,
    coordinator: str,
    seed: int,
    initial_weights_sha256: str,
    parameter_spec_sha256: str,
    num_parameters: int,
    training_sites: tuple[str, ...],
    roster_version: int,
    roster_sha256: str,
    answer_key: bytes = b"",
    protocol: int | None = None,
) -> Manifest:
    """Resolve a job into a manifest; without a `protocol` it is of the newest version."""
    # A path of the coordinator's disk means nothing at a site; the hash of the weights does.
    table = table_of_job(job)
    if job.model.start != "random":
        table["model"]["start"] = f"sha256:{initial_weights_sha256}"
    return Manifest(
        protocol=newest_version() if protocol is None else protocol,
        consortium=consortium,
        run=run,
        coordinator=coordinator,
        job_table=encode_canonically(table),
        seed=seed,
        initial_weights_sha256=initial_weights_sha256,
        parameter_spec_sha256=parameter_spec_sha256,
        num_parameters=num_parameters,
        training_sites=training_sites,
        roster_version=roster_version,
        roster_sha256=roster_sha256,
        suite=SUITE,
        answer_key=answer_key,
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Give the canonical bytes."""
    plain: dict[str, Any] = dataclasses.asdict(manifest)
    return encode_canonically(plain | {"training_sites": list(manifest.training_sites)})


def decode_manifest(unverified: bytes, *, as_record: bool = False) -> Manifest:
    """Rebuild a manifest.

    Args:
        unverified: Its bytes.
        as_record: It is one's own record of a run, which stays readable when releases have gone
            by. Before anything is done for the run, `require_goes_on` checks it.

    Raises:
        MalformedMessageError: Not the canonical encoding, or of a protocol version or suite that is
            not spoken here.
    """
    manifest = plain_dataclass(Manifest, decode_canonically(unverified))
    if not as_record:
        require_goes_on(manifest)
    return manifest


def require_goes_on(manifest: Manifest) -> None:
    """Check that this release can take part in a run.

    Raises:
        MalformedMessageError: It is of a protocol version or suite that is not spoken here.
    """
    require_spoken(manifest.protocol)
    if manifest.suite != SUITE:
        raise MalformedMessageError(
            f"the manifest is of suite {manifest.suite[:20]!r}, {SUITE!r} is spoken here",
            hint="bring both sides to the same release",
            code="SECAGG_SUITE",
        )


def hash_of_manifest(encoded: bytes) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(encoded).hexdigest()

"""Answers that nothing masks leave sealed to the coordinator's key of the run."""

import os
from typing import TYPE_CHECKING

from fedward_common.crypto.key_agreement import HybridPublicKey, SystemKem
from fedward_common.errors import PrivacyError
from fedward_common.wire.envelope import Arrays
from fedward_common.wire.sealed_answers import SealedFor, seal_arrays

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenSite
    from fedward_common.wire.manifest import Manifest


def require_sealed_answers(site: "OpenSite", manifest: "Manifest") -> None:
    """Check that what a run does not mask is sealed; only a simulation has nobody in between.

    Raises:
        PrivacyError: `ANSWERS_NOT_SEALED`.
        MalformedMessageError: The manifest's key is none.
    """
    if manifest.answer_key:
        HybridPublicKey.from_bytes(manifest.answer_key)
    elif not (site.is_simulated or manifest.job.secure_aggregation.enabled):
        raise PrivacyError(
            "the run neither masks what leaves this site nor names a key to seal it to",
            hint="its updates would lie readable in the coordinator's database; the coordinator "
            "has to set the run up with an answer key, or with secure aggregation",
            code="ANSWERS_NOT_SEALED",
        )


def sealed_reply(
    site: "OpenSite", manifest: "Manifest", request_sha256: str, arrays: Arrays
) -> Arrays:
    """Give what leaves instead of these arrays of a `TrainReply` or `EvaluateReply`.

    Args:
        site: Whose.
        manifest: Of the run.
        request_sha256: Of the request's header.
        arrays: Of the answer.
    """
    if not manifest.answer_key:
        return arrays
    public = HybridPublicKey.from_bytes(manifest.answer_key)
    bound_to = SealedFor(request_sha256, site.site_id)
    return seal_arrays(arrays, public, bound_to, entropy=os.urandom, kem=SystemKem())

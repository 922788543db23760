"""What the keys of one attempt are bound to.

Every site states the binding in its signed round keys, and every key of the attempt is derived from
its hash: masks cancel only between sites that trained the same weights under the same manifest,
roster and codec. A site compares field by field, so that a refusal names what differs.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fedward_common.errors import ConfigurationError
from fedward_common.wire.canonical_cbor import encode_canonically
from fedward_common.wire.messages import SecurePurpose

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_MAX_NAME = 128


@dataclass(frozen=True)
class RoundBinding:
    """One attempt at one sum.

    Attributes:
        consortium: Whose roster it is.
        run: The run's id.
        purpose: What is added up: a round's updates, or sums over one split.
        round: From 0.
        attempt: From 0; rises by every new try of the same round.
        manifest_sha256: Of the run's manifest, in hex; likewise the other hashes.
        roster_version: From 1.
        roster_sha256: Of the roster.
        weights_sha256: By `weights_sha256_of`.
        codec_sha256: Over the descriptors of words and lane.
        suite: Of cryptographic primitives; fixed in the manifest and never negotiated.
    """

    consortium: str
    run: str
    purpose: SecurePurpose
    round: int
    attempt: int
    manifest_sha256: str
    roster_version: int
    roster_sha256: str
    weights_sha256: str
    codec_sha256: str
    suite: str

    remembers_canonical_bytes = True  # it stands in every state and every key

    def __post_init__(self) -> None:
        for name in ("consortium", "run", "suite"):
            if not 0 < len(getattr(self, name)) <= _MAX_NAME:
                raise _unusable(name, f"1 to {_MAX_NAME} characters")
        for name, least in (("round", 0), ("attempt", 0), ("roster_version", 1)):
            if getattr(self, name) < least:
                raise _unusable(name, f"{least} or more")
        for name in ("manifest_sha256", "roster_sha256", "weights_sha256", "codec_sha256"):
            if not _SHA256.match(getattr(self, name)):
                raise _unusable(name, "64 digits of lower-case hex")

    @cached_property
    def sha256(self) -> str:
        """Hash of the canonical encoding of all fields, in hex."""
        return hashlib.sha256(encode_canonically(self.to_plain())).hexdigest()

    def to_plain(self) -> dict[str, str | int]:
        """Give the fields by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def weights_sha256_of(arrays_sha256: Mapping[str, str]) -> str:
    """Give the one hash of all arrays of a request: the weights and whatever came beside them."""
    return hashlib.sha256(encode_canonically(dict(arrays_sha256))).hexdigest()


def _unusable(name: str, needed: str) -> ConfigurationError:
    return ConfigurationError(f"binding of a round: {name} is unusable, {needed} needed")

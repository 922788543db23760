"""The signed frame of every message.

The header says who sends what to whom, in which run, round and attempt, under which manifest, and
carries the hashes of the body and of each array beside it. The signature covers the header, and
through the hashes everything else. A reply names the header it answers, so it cannot be replayed
for another request.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import UnverifiedMessageError
from fedward_common.wire.header import Header, decode_header, encode_header
from fedward_common.wire.messages import PROTOCOL_VERSION

WireArray = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8]
Arrays = Mapping[str, WireArray]

ALLOWED_DTYPES = ("float32", "int64", "uint8")
# numpy builds a dtype's name anew at each question, which costs as much as a small hash.
_DTYPE_NAMES = {np.dtype(name): name for name in ALLOWED_DTYPES}
_CONTEXT = "fedward envelope v1"


@dataclass(frozen=True)
class Envelope:
    """A header in its canonical bytes, the body, and the sender's signature."""

    header_bytes: bytes
    body: bytes
    signature: bytes

    @property
    def sha256(self) -> str:
        """Hash of the header, which a reply names as `in_reply_to`."""
        return hashlib.sha256(self.header_bytes).hexdigest()


@dataclass(frozen=True)
class Subject:
    """The run, round and attempt a message belongs to, and the protocol that the run speaks."""

    consortium: str
    run: str
    manifest_sha256: str
    round: int = 0
    attempt: int = 0
    protocol: int = PROTOCOL_VERSION


def name_of_dtype(dtype: np.dtype[Any]) -> str:
    """Give the name that stands beside an array's bytes."""
    return _DTYPE_NAMES.get(dtype) or dtype.name


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Give the array contiguous and in the byte order of the wire; itself where it is so."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


class HashedArray(np.ndarray[Any, Any]):
    """A read-only array that remembers its hash, so that one process hashes it once.

    What came over a link is made of bare bytes and remembers none.
    """

    known_sha256 = ""


def remember_hash(array: NDArray[Any], sha256: str) -> HashedArray:
    """Give a read-only view that knows its hash; whoever made the hash answers for it."""
    view = array.view(HashedArray)
    view.flags.writeable = False
    view.known_sha256 = sha256
    return view


def hash_of_array(array: WireArray) -> str:
    """SHA-256 of dtype, shape and little-endian content."""
    if isinstance(array, HashedArray) and array.known_sha256:
        return array.known_sha256
    digest = hashlib.sha256(f"{name_of_dtype(array.dtype)}:{array.shape}:".encode())
    digest.update(little_endian(array).data)
    return digest.hexdigest()


def hashed(arrays: Arrays) -> dict[str, HashedArray]:
    """Hash each array and let it remember."""
    return {name: remember_hash(array, hash_of_array(array)) for name, array in arrays.items()}


def hashes_of_arrays(arrays: Arrays) -> dict[str, str]:
    """Hash each array; a coordinator does this once for all sites of a round."""
    return {name: hash_of_array(array) for name, array in sorted(arrays.items())}


def sign_envelope(
    key: SigningKey,
    *,
    subject: Subject,
    sender: str,
    recipient: str,
    kind: str,
    body: bytes,
    arrays_sha256: dict[str, str],
    in_reply_to: str = "",
) -> Envelope:
    """Frame and sign one message."""
    header = Header(
        protocol=subject.protocol,
        consortium=subject.consortium,
        run=subject.run,
        round=subject.round,
        attempt=subject.attempt,
        manifest_sha256=subject.manifest_sha256,
        sender=sender,
        recipient=recipient,
        kind=kind,
        in_reply_to=in_reply_to,
        body_sha256=hashlib.sha256(body).hexdigest(),
        arrays_sha256=arrays_sha256,
    )
    header_bytes = encode_header(header)
    return Envelope(header_bytes, body, key.sign(header_bytes, context=_CONTEXT))


def verify_envelope(
    unverified: Envelope,
    arrays: Arrays,
    key_of: Callable[[Header], VerifyingKey],
    *,
    any_protocol: bool = False,
) -> Header:
    """Check signature, body and arrays of a message against the key of its claimed sender.

    Args:
        unverified: What came.
        arrays: What came beside it.
        key_of: Gives the key that must have signed a header, or raises if nobody may send it.
        any_protocol: Leave the version to the caller, who can then refuse it with a signature.

    Raises:
        MalformedMessageError: The header is not canonical, or of a version not spoken here.
        UnverifiedMessageError: Signature, body or an array does not fit.
    """
    header = decode_header(unverified.header_bytes, any_protocol=any_protocol)
    key_of(header).verify(unverified.signature, unverified.header_bytes, context=_CONTEXT)
    if hashlib.sha256(unverified.body).hexdigest() != header.body_sha256:
        raise UnverifiedMessageError("the body is not the one that was signed")
    if hashes_of_arrays(arrays) != header.arrays_sha256:
        raise UnverifiedMessageError("an array is not the one that was signed")
    return header


def verify_subject(header: Header, expected: Subject, *, recipient: str) -> None:
    """Check that a verified message belongs where it arrived.

    Raises:
        UnverifiedMessageError: Another consortium, run, round, attempt, manifest or recipient.
    """
    came = vars(header)
    for name, value in vars(expected).items():
        if came[name] != value:
            raise UnverifiedMessageError(f"the message belongs to another {name}")
    if header.recipient != recipient:
        raise UnverifiedMessageError("the message is addressed to somebody else")

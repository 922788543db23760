"""A member's question whether another machine showed its node's key, and the coordinator's answer.

The question is signed by the member, for the answer is nobody else's business. The answer is signed
by the coordinator and names the question, so that neither a server in between nor an old answer
raises or hides an alarm. It needs no office: the coordinator alone sees who connects.
"""

import hashlib
from dataclasses import dataclass

from fedward_common.consortium.roster import Roster
from fedward_common.consortium.signed_frames import (
    frame_in,
    is_of_kind,
    require_of_member,
    signed_frame,
)
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import Plain
from fedward_common.wire.messages import plain_dataclass

NONCE_BYTES = 16

_REQUEST = "fedward node news request 1"
_ANSWER = "fedward node news 1"
_MAX_SECONDS = 1 << 40


@dataclass(frozen=True)
class _Request:
    consortium: str
    site: str
    nonce: bytes


@dataclass(frozen=True)
class _News:
    consortium: str
    site: str
    request_sha256: bytes
    duplicate_seconds: int


def make_news_request(key: SigningKey, *, consortium: str, site: str, nonce: bytes) -> bytes:
    """Ask; `nonce` is 16 bytes that were never used before."""
    return signed_frame(key, _REQUEST, {"consortium": consortium, "site": site, "nonce": nonce})


def is_news_request(unverified: bytes) -> bool:
    """Say whether bytes are meant as one."""
    return is_of_kind(unverified, _REQUEST)


def verify_news_request(unverified: bytes, roster: Roster) -> str:
    """Give the site that asks.

    Args:
        unverified: What came.
        roster: The present one; only its members are answered.

    Raises:
        MalformedMessageError: It is no such request.
        UnverifiedMessageError: `REQUEST_OTHER_CONSORTIUM`, `NOT_A_MEMBER`, or a signature does not
            fit.
    """
    frame = frame_in(unverified, _REQUEST)
    request = plain_dataclass(_Request, frame.unverified_body())
    if len(request.nonce) != NONCE_BYTES:
        raise MalformedMessageError(f"a nonce of {len(request.nonce)} bytes, not {NONCE_BYTES}")
    require_of_member(frame, request.consortium, request.site, roster)
    return request.site


def make_news(
    key: SigningKey, *, consortium: str, site: str, request: bytes, duplicate_seconds: int
) -> bytes:
    """Answer a request.

    Args:
        key: The coordinator's.
        consortium: Its name.
        site: Who asked.
        request: Its bytes.
        duplicate_seconds: When another machine last showed its key, since 1970; 0 for never.
    """
    digest = hashlib.sha256(request).digest()
    body: dict[str, Plain] = {
        "consortium": consortium,
        "site": site,
        "request_sha256": digest,
        "duplicate_seconds": duplicate_seconds,
    }
    return signed_frame(key, _ANSWER, body)


def verify_news(
    unverified: bytes, coordinator: VerifyingKey, *, consortium: str, site: str, request: bytes
) -> int:
    """Give when another machine last showed this site's key, since 1970; 0 for never.

    Raises:
        MalformedMessageError: It is no such answer.
        UnverifiedMessageError: The coordinator did not sign it, or it answers something else.
    """
    frame = frame_in(unverified, _ANSWER)
    coordinator.verify(frame.signature, frame.body, context=_ANSWER)
    news = plain_dataclass(_News, frame.unverified_body())
    asked = consortium, site, hashlib.sha256(request).digest()
    if (news.consortium, news.site, news.request_sha256) != asked:
        raise UnverifiedMessageError("the answer belongs to another question", code="REPLAY")
    if not 0 <= news.duplicate_seconds < _MAX_SECONDS:
        raise MalformedMessageError("the time in the answer is none")
    return news.duplicate_seconds

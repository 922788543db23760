"""Which key a site's Flower node connects with, as a statement that the site signed.

Flower knows its nodes by keys on NIST curves and by nothing else; a site is known by its Ed25519
key in the roster. This statement ties the one to the other, so that a coordinator lets only members
connect. Who answers for a site is not decided by it: every answer is signed by the site itself.
"""

import dataclasses
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_STATEMENT_BYTES = 2048

_CONTEXT = "fedward node key v1"
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True)
class NodeKey:
    """A verified statement.

    Attributes:
        public_key: SubjectPublicKeyInfo in PEM, the form that Flower compares.
    """

    site: SiteId
    public_key: bytes


@dataclass(frozen=True)
class _Signed:
    body: bytes
    signature: bytes


@dataclass(frozen=True)
class _Body:
    consortium: str
    site: str
    public_key: str


def state_node_key(key: SigningKey, *, consortium: str, site: SiteId, public_key: str) -> bytes:
    """Sign the statement.

    Args:
        key: The site's own.
        consortium: Its name.
        site: Who states it.
        public_key: Of the node, one line in OpenSSH's form.

    Raises:
        MalformedMessageError: The key is not on a NIST curve.
    """
    _pem_of(public_key)
    body = encode_canonically(dataclasses.asdict(_Body(consortium, site, public_key)))
    signature = key.sign(body, context=_CONTEXT)
    return encode_canonically({"body": body, "signature": signature})


def verify_node_key(unverified: bytes, roster: Roster) -> NodeKey:
    """Check a statement.

    Args:
        unverified: What came.
        roster: Of the consortium; only a site in it may connect.

    Raises:
        MalformedMessageError: It is no such statement, or the key is not on a NIST curve.
        UnverifiedMessageError: Its site is no member, or did not sign it.
    """
    signed = plain_dataclass(_Signed, decode_canonically(unverified, max_bytes=MAX_STATEMENT_BYTES))
    body = plain_dataclass(_Body, decode_canonically(signed.body, max_bytes=MAX_STATEMENT_BYTES))
    entry = roster.entry_of(body.site)
    if body.consortium != roster.consortium or entry.role != "site":
        raise UnverifiedMessageError(
            "a node's key is stated for another consortium, or by no site", code="NODE_KEY_FOREIGN"
        )
    entry.key.verify(signed.signature, signed.body, context=_CONTEXT)
    return NodeKey(entry.site, _pem_of(body.public_key))


def _pem_of(unverified: str) -> bytes:
    try:
        key = load_ssh_public_key(unverified.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessageError("a node's key is not in OpenSSH's form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise MalformedMessageError("a node's key is not on P-256, P-384 or P-521")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

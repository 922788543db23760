"""Hashes over what the sites of an attempt must agree on: the directory, the sharers, the lists.

A site that signs a transcript was shown the directory and the sharers in it, and no others. With
enough signatures over two transcripts an honest site is in both, so these were the same; the lists
may differ, but then that site reveals its shares for one of them alone.
"""

import hashlib
from collections.abc import Sequence

from fedward_common.secagg.messages import ShareRequest, Signed, encode
from fedward_common.wire.canonical_cbor import encode_canonically

_SHARERS_LABEL = "fedward secagg sharers v1"
_TRANSCRIPT_LABEL = "fedward secagg transcript v1"


def hash_of_directory(directory: Sequence[Signed]) -> bytes:
    """SHA-256 of the share request that carries this directory."""
    return hashlib.sha256(encode(ShareRequest(tuple(directory)))).digest()


def hash_of_sharers(announcements: Sequence[Signed]) -> bytes:
    """SHA-256 over the signed announcements of all sharers, in the order of the sites."""
    items = [[item.body, item.signature] for item in announcements]
    return hashlib.sha256(encode_canonically([_SHARERS_LABEL, items])).digest()


def hash_of_transcript(
    directory_sha256: bytes,
    sharers_sha256: bytes,
    survivors: Sequence[str],
    dropouts: Sequence[str],
) -> bytes:
    """SHA-256 of all that was agreed on; what a confirmation signs."""
    items = [
        _TRANSCRIPT_LABEL,
        directory_sha256,
        sharers_sha256,
        list(survivors),
        list(dropouts),
    ]
    return hashlib.sha256(encode_canonically(items)).digest()

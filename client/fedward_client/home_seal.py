"""Seals on what a site's home must neither lose nor find changed: HMACs under a key of the site.

A seal shows that `fedward-site` wrote a file of this home. It does not show that the file is the
last one: who keeps counts against each other, as `split_record` does, sees that too. Whoever can
read the site's keys can make seals.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

from fedward_common.errors import CorruptFileError

EXCLUDED_PATIENTS = "fedward-excluded-patients/2"

_DOMAIN = b"fedward seal v1"


def seal_of(key: bytes, label: str, parts: Iterable[bytes]) -> str:
    """Give HMAC-SHA256 of a label and of the parts one after another, 64 hex digits.

    Args:
        key: `SiteHome.seal_key()`.
        label: What is sealed, with its schema; a seal of one kind is none of another.
        parts: The caller sees to it that other parts give other bytes.
    """
    mac = hmac.new(key, _DOMAIN + b"\0" + label.encode() + b"\0", hashlib.sha256)
    for part in parts:
        mac.update(part)
    return mac.hexdigest()


def verify_seal(
    key: bytes, label: str, parts: Iterable[bytes], unverified: str, damaged: CorruptFileError
) -> None:
    """Check a seal.

    Raises:
        CorruptFileError: `damaged`: it is the seal of something else, or of another site.
    """
    if not hmac.compare_digest(seal_of(key, label, parts).encode(), unverified.encode()):
        raise damaged


def sealed_table(key: bytes, schema: str, content: Mapping[str, str]) -> bytes:
    """Give a table of texts as JSON with its seal."""
    seal = seal_of(key, schema, [_canonical(content)])
    table = {"schema": schema, "seal": seal, "content": dict(sorted(content.items()))}
    return json.dumps(table, indent=1).encode("ascii")


def open_sealed_table(
    key: bytes, schema: str, unverified: bytes, damaged: CorruptFileError
) -> dict[str, str]:
    """Give a table that `sealed_table` wrote.

    Raises:
        CorruptFileError: `damaged`: it is anything else.
    """
    try:
        table: dict[str, Any] = json.loads(unverified)
        content: dict[str, str] = table["content"]
        sound = table["schema"] == schema and all(isinstance(v, str) for v in content.values())
        seal = str(table["seal"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    if not sound:
        raise damaged
    verify_seal(key, schema, [_canonical(content)], seal, damaged)
    return dict(content)


def _canonical(content: Mapping[str, str]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")

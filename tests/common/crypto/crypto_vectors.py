"""Reads `tests/vectors`, and a slow HKDF that shares nothing with the library's."""

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def vectors(name: str) -> dict[str, Any]:
    file = Path(__file__).parents[2] / "vectors" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def unhex(known: dict[str, str], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(known[name]) for name in names)


def slow_hkdf(ikm: bytes, *, salt: bytes, info: bytes, num_bytes: int) -> bytes:
    """RFC 5869 sections 2.2 and 2.3, word by word."""
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    blocks, previous = b"", b""
    for number in range(1, 1 + (num_bytes + 31) // 32):
        previous = hmac.new(prk, previous + info + bytes([number]), hashlib.sha256).digest()
        blocks += previous
    return blocks[:num_bytes]


def replayed(content: bytes) -> Callable[[int], bytes]:
    """Entropy that gives `content` from its beginning, and fails at its end."""
    rest = [content]

    def entropy(num_bytes: int) -> bytes:
        taken, rest[0] = rest[0][:num_bytes], rest[0][num_bytes:]
        return taken

    return entropy

"""Names for patients and files that mean nothing without the site's key.

Log lines, cache file names and reports carry these, never a header's value.
"""

import hashlib
import hmac
from typing import Literal

_DOMAIN = b"fedward pseudonym v1"
_HEX_DIGITS = 32

Kind = Literal["patient", "person", "study", "series", "instance", "file", "case"]


def pseudonym(key: bytes, kind: Kind, value: str) -> str:
    """Give 32 hex digits: HMAC-SHA256 of kind and value, cut to 128 bits.

    Args:
        key: `SiteHome.pseudonym_key()`; it stays on site.
        kind: What `value` names; the same text as two kinds gives two names.
        value: An identifier as the header has it.
    """
    text = _DOMAIN + b"\0" + kind.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:_HEX_DIGITS]

"""Bytes that show themselves to nobody who did not ask.

A secret has no `repr`, hash, pickle or copy, and is compared in constant time. It is not wiped when
it is dropped: Python moves and keeps bytes as it likes, and to promise otherwise would be untrue.
"""

import hmac

from fedward_common.errors import MalformedMessageError


class SecretBytes:
    """A key, seed or share; `reveal` is the one way to its content."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        # Through a view, since `bytes(32)` would be a secret of zeros.
        self._value = bytes(memoryview(value))

    def __repr__(self) -> str:
        return "SecretBytes(hidden)"

    def __len__(self) -> int:
        return len(self._value)

    # Also leaves the class without a hash: an equal hash would tell of equal secrets.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not copied or serialised by accident")

    def reveal(self) -> bytes:
        """Give the content, for the computation or the sealed file that needs it."""
        return self._value

    def reveal_exactly(self, num_bytes: int) -> bytes:
        """Give the content, which must have a certain length.

        Raises:
            MalformedMessageError: It has another length.
        """
        if len(self._value) != num_bytes:
            raise MalformedMessageError(
                f"a secret has {len(self._value)} bytes, {num_bytes} are needed"
            )
        return self._value

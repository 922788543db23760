"""Content that rests under a passphrase: AES-256-GCM with a key from scrypt (RFC 7914).

The salt is fresh for each content, so no key ever seals two. The cost stands in the head, and is
authenticated with it.
"""

import getpass
import hashlib
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.sealing import open_sealed, seal
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MIN_PASSPHRASE_LENGTH = 12
DEFAULT_LOG2_COST = 17  # with r = 8, 128 MB and about half a second for each guess

_MIN_LOG2_COST, _MAX_LOG2_COST = 10, 20
_BLOCK_SIZE = 8
_SALT_BYTES = 16
_MAX_PASSPHRASE_BYTES = 1024


@dataclass(frozen=True)
class _Rest:
    kind: str
    log2_cost: int
    salt: bytes
    sealed: bytes


def seal_at_rest(
    content: bytes,
    passphrase: SecretBytes,
    *,
    kind: str,
    entropy: Entropy,
    log2_cost: int = DEFAULT_LOG2_COST,
) -> bytes:
    """Encrypt content for a file.

    Args:
        content: What rests.
        passphrase: Whoever knows it can open the file.
        kind: What the content is; a file of one kind does not open as another.
        entropy: Gives random bytes, for the salt.
        log2_cost: Of scrypt's N.
    """
    salt = draw(entropy, _SALT_BYTES)
    head = _head(kind, log2_cost, salt)
    sealed = seal(_key(passphrase, salt, log2_cost), content, associated=head)
    return encode_canonically(
        {"kind": kind, "log2_cost": log2_cost, "salt": salt, "sealed": sealed}
    )


def open_at_rest(unverified: bytes, passphrase: SecretBytes, *, kind: str, max_bytes: int) -> bytes:
    """Decrypt what `seal_at_rest` gave.

    Raises:
        CorruptFileError: It is nothing of this kind.
        ConfigurationError: `PASSPHRASE_WRONG`: the passphrase is another, or a byte was changed.
    """
    try:
        rest = plain_dataclass(_Rest, decode_canonically(unverified, max_bytes=max_bytes))
        is_sound = rest.kind == kind and _MIN_LOG2_COST <= rest.log2_cost <= _MAX_LOG2_COST
    except MalformedMessageError as error:
        raise _damaged(kind) from error
    if not is_sound:
        raise _damaged(kind)
    head = _head(kind, rest.log2_cost, rest.salt)
    try:
        return open_sealed(
            _key(passphrase, rest.salt, rest.log2_cost), rest.sealed, associated=head
        )
    except (UnverifiedMessageError, MalformedMessageError) as error:
        raise ConfigurationError(
            f"the {kind} does not open with this passphrase",
            hint="try the passphrase again; if it is right, the file was changed: restore it",
            code="PASSPHRASE_WRONG",
        ) from error


def read_passphrase(file: Path | None, *, is_new: bool) -> SecretBytes:
    """Give the passphrase from a file that only its owner may read, or from the terminal.

    Args:
        file: The first line's worth of text; None asks the person at the terminal.
        is_new: Whether it is chosen now: it is asked for twice and has a least length.

    Raises:
        ConfigurationError: There is neither file nor person, others may read the file, or it is
            too short.
    """
    text = _asked_for(is_new) if file is None else _text_in(file)
    if is_new and len(text) < MIN_PASSPHRASE_LENGTH:
        raise ConfigurationError(
            f"the passphrase has {len(text)} characters, at least {MIN_PASSPHRASE_LENGTH} are "
            "needed",
            hint="five or six words that nobody would guess together are a good one",
        )
    return SecretBytes(text.encode())


def _asked_for(is_new: bool) -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError(
            "the authority's key is encrypted, and nobody is there to be asked",
            hint="give --passphrase-file with a file that only its owner may read",
        )
    text = getpass.getpass("Passphrase of the consortium's authority: ")
    if is_new and getpass.getpass("Once more: ") != text:
        raise ConfigurationError("the two passphrases differ", hint="nothing was made; try again")
    return text


def _text_in(file: Path) -> str:
    with file.open("rb") as opened:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigurationError(
                f"others than its owner may read {file}", hint=f"chmod 600 {file}"
            )
        content = opened.read(_MAX_PASSPHRASE_BYTES + 1)
    try:
        text = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text", hint="one line of text") from error
    if not text or len(content) > _MAX_PASSPHRASE_BYTES or not text.isprintable():
        raise ConfigurationError(f"{file} holds no passphrase", hint="one line of text")
    return text


def _key(passphrase: SecretBytes, salt: bytes, log2_cost: int) -> SecretBytes:
    return SecretBytes(
        hashlib.scrypt(
            passphrase.reveal(),
            salt=salt,
            n=1 << log2_cost,
            r=_BLOCK_SIZE,
            p=1,
            maxmem=(128 * _BLOCK_SIZE << log2_cost) + (1 << 20),
            dklen=32,
        )
    )


def _head(kind: str, log2_cost: int, salt: bytes) -> bytes:
    return encode_canonically({"kind": kind, "log2_cost": log2_cost, "salt": salt})


def _damaged(kind: str) -> CorruptFileError:
    return CorruptFileError(
        f"this is no {kind}, or it was changed", hint="restore it from the backup"
    )

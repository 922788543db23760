"""The messages, one frozen dataclass each.

What each asks and answers stands in the design's table of a round. Vectors travel beside a message
as named arrays; the message and the arrays are bound together by the envelope. An answer says only
what the coordinator may know: an error's code, never its text.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fedward_common.errors import ConfigurationError, MalformedMessageError
from fedward_common.settings import from_table
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

PROTOCOL_VERSION = 1

# Names of the arrays beside a message.
WEIGHTS = "weights"
EVALUATED_WEIGHTS = "evaluated-weights"
UPDATE = "update"
SHARES = "shares"
SUMS = "sums"


@dataclass(frozen=True)
class ManifestQuery:
    """`query.manifest`: will you take part in this run? `manifest` is its canonical encoding."""

    manifest: bytes


@dataclass(frozen=True)
class ManifestReply:
    """The site's answer; of its size only the band [`band_low`, `band_high`] of train patients."""

    band_low: int
    band_high: int
    unit: Literal["patient", "lesion", "image"]


@dataclass(frozen=True)
class TrainRound:
    """`train.round`: evaluate what is due, then train from the weights beside this message.

    `evaluate` asks for sums over validation patients: of `evaluated-weights` where they are there,
    else of `weights`.
    """

    evaluate: bool


@dataclass(frozen=True)
class TrainReply:
    """Beside it: `update` (float32, one value a parameter), and `sums` where asked for.

    With the joint mechanism `shares` instead of `update`: int64, numbers of the ring by their bits.
    """

    local_steps: int


@dataclass(frozen=True)
class EvaluateWeights:
    """`evaluate.validation` and `evaluate.final`: sums of the weights beside this message."""

    split: Literal["validation", "test"]


@dataclass(frozen=True)
class EvaluateReply:
    """Beside it: `sums` (int64)."""


@dataclass(frozen=True)
class Refusal:
    """The site does not do what was asked; `code` is all that it says of why."""

    code: str


Message = (
    ManifestQuery
    | ManifestReply
    | TrainRound
    | TrainReply
    | EvaluateWeights
    | EvaluateReply
    | Refusal
)
_KINDS: dict[str, type[Any]] = {
    "manifest.query": ManifestQuery,
    "manifest.reply": ManifestReply,
    "train.round": TrainRound,
    "train.reply": TrainReply,
    "evaluate.weights": EvaluateWeights,
    "evaluate.reply": EvaluateReply,
    "refusal": Refusal,
}
KINDS = frozenset(_KINDS)
_NAMES = {kind: name for name, kind in _KINDS.items()}

M = TypeVar("M")


def encode_message(message: Message) -> tuple[str, bytes]:
    """Give a message's kind and its canonical body."""
    return _NAMES[type(message)], encode_canonically(dataclasses.asdict(message))


def decode_message(kind: str, unverified: bytes) -> Message:
    """Rebuild a message.

    Raises:
        MalformedMessageError: Unknown kind; a field missing, extra or of a wrong type; or bytes
            that are not canonical.
    """
    if kind not in _KINDS:
        raise MalformedMessageError(f"unknown kind of message {kind[:40]!r}")
    if len(unverified) <= _REMEMBERED_BYTES:
        return _decode_short_message(kind, unverified)
    return _decode_message(kind, unverified)


def _decode_message(kind: str, unverified: bytes) -> Message:
    return plain_dataclass(_KINDS[kind], decode_canonically(unverified))  # type: ignore[no-any-return]


# The sites of a round are sent one body and answer with one: the same bytes are decoded once.
_REMEMBERED_BYTES = 256
_decode_short_message = functools.lru_cache(maxsize=64)(_decode_message)


def plain_dataclass(kind: type[M], unverified: object) -> M:
    """Build a wire dataclass from plain values; every field must be there.

    Raises:
        MalformedMessageError: A field is missing, extra or of a wrong type.
    """
    try:
        value = from_table(kind, unverified)
    except ConfigurationError as error:
        raise MalformedMessageError(f"{kind.__name__}: {error}") from error
    if not isinstance(unverified, dict) or unverified.keys() != _names_of(kind):  # type: ignore[arg-type]
        raise MalformedMessageError(f"{kind.__name__}: a field is missing")
    return value


@functools.cache
def _names_of(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))

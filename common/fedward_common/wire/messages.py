"""The messages, one frozen dataclass each.

ARCHITECTURE.md has what each asks and answers in a run, docs/SECURE_AGGREGATION.md the steps of a
masked sum. Vectors travel beside a message as named arrays; the message and the arrays are bound
together by the envelope. An answer says only what the coordinator may know: an error's code, never
its text.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from fedward_common.errors import ConfigurationError, FedwardError, MalformedMessageError
from fedward_common.settings import from_table
from fedward_common.wire.canonical_cbor import (
    MAX_MESSAGE_BYTES,
    decode_canonically,
    encode_canonically,
)
from fedward_common.wire.run_result import MAX_RESULT_BYTES, ResultReceipt, RunResult
from fedward_common.wire.typed_cbor import UnusualError, decode_typed

PROTOCOL_VERSION = 1

# Names of the arrays beside a message.
WEIGHTS = "weights"
EVALUATED_WEIGHTS = "evaluated-weights"
CONTROL_VARIATE = "control-variate"
UPDATE = "update"
CONTROL_VARIATE_CHANGE = "control-variate-change"
SHARES = "shares"
SUMS = "sums"
MASKED = "masked"
LANE = "lane"

SecurePurpose = Literal["train", "validation", "test"]
SecureStepName = Literal["share", "mask", "confirm", "unmask", "abandon", "abandoned"]


@dataclass(frozen=True)
class ManifestQuery:
    """`query.manifest`: will you take part in this run?

    `manifest` is its canonical encoding, `roster` the signed roster that it names.
    """

    manifest: bytes
    roster: bytes


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
    else of `weights`. With SCAFFOLD `control-variate` comes too, and `counted_rounds` names the
    last committed round that each site's answer was part of; without it there are none.
    """

    evaluate: bool
    counted_rounds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainReply:
    """Beside it: `update` (float32, one value a parameter), and `sums` where asked for.

    With the joint mechanism `shares` instead of `update`: int64, numbers of the ring by their bits.
    With SCAFFOLD `control-variate-change` too. `contribution.contribution_vectors` lists them.
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
class SecureReady:
    """Instead of vectors, when sums are masked: this site's signed keys of the attempt.

    The answer to `train.round` and `evaluate.*`; what was asked for is done and kept at home.
    """

    keys: bytes


@dataclass(frozen=True)
class SecureStep:
    """`query.share`, `query.mask`, `query.confirm`, `query.unmask`, `query.abandon`, ...

    One step of secure aggregation; `body` is a message of `fedward_common.secagg`.
    """

    step: SecureStepName
    purpose: SecurePurpose
    body: bytes


@dataclass(frozen=True)
class SecureStepReply:
    """What a member gives back; to `mask` it is empty, and beside it are `masked` and `lane`."""

    step: SecureStepName
    body: bytes


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
    | SecureReady
    | SecureStep
    | SecureStepReply
    | RunResult
    | ResultReceipt
    | Refusal
)
_KINDS: dict[str, type[Any]] = {
    "manifest.query": ManifestQuery,
    "manifest.reply": ManifestReply,
    "train.round": TrainRound,
    "train.reply": TrainReply,
    "evaluate.weights": EvaluateWeights,
    "evaluate.reply": EvaluateReply,
    "secure.ready": SecureReady,
    "secure.step": SecureStep,
    "secure.step-reply": SecureStepReply,
    "run.result": RunResult,
    "result.receipt": ResultReceipt,
    "refusal": Refusal,
}
KINDS = frozenset(_KINDS)
_NAMES = {kind: name for name, kind in _KINDS.items()}

M = TypeVar("M")


def encode_message(message: Message) -> tuple[str, bytes]:
    """Give a message's kind and its canonical body."""
    name = _NAMES[type(message)]
    if name in _SHORT_REPLIES:
        return name, _encode_short_reply(name, *vars(message).values())
    if type(message) is RunResult:
        return name, encode_canonically(plain_values(message))
    return name, encode_canonically(dict(vars(message)))


# The sites of a round mostly answer with the same few bytes.
_SHORT_REPLIES = frozenset(_NAMES[kind] for kind in (TrainReply, EvaluateReply, Refusal))


@functools.lru_cache(maxsize=64, typed=True)
def _encode_short_reply(name: str, *values: Any) -> bytes:
    names = _KINDS[name].__match_args__
    return encode_canonically(dict(zip(names, values, strict=True)))


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
    most = _MAX_BYTES.get(kind, MAX_MESSAGE_BYTES)
    if len(unverified) <= most:
        try:
            return decode_typed(_KINDS[kind], unverified)  # type: ignore[no-any-return]
        except (UnusualError, FedwardError):
            pass  # what is wrong, the general way says
    value = decode_canonically(unverified, max_bytes=most)
    return plain_dataclass(_KINDS[kind], value)  # type: ignore[no-any-return]


# Keys, ciphertexts and shares of a few hundred sites.
_MAX_STEP_BYTES = (1 << 24) + 4096
_MAX_BYTES = {
    "secure.step": _MAX_STEP_BYTES,
    "secure.step-reply": _MAX_STEP_BYTES,
    "run.result": MAX_RESULT_BYTES,
}


# The sites of a round are sent one body and answer with one: the same bytes are decoded once.
_REMEMBERED_BYTES = 256
_decode_short_message = functools.lru_cache(maxsize=64)(_decode_message)


def plain_values(value: Any) -> Any:
    """Give a dataclass and what it holds as plain values, without copying any of them."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return {name: plain_values(getattr(value, name)) for name in kind.__dataclass_fields__}
    if kind is tuple or kind is list:
        return [plain_values(item) for item in value]
    if kind is dict:
        return {key: plain_values(item) for key, item in value.items()}
    return value


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

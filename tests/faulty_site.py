"""The sites' own ClientApp with faults in it, told by `faults` in the node's configuration.

`faults` is text such as `train.round/2/1=nan;query.manifest/*/*=raise`: kind of message, round and
attempt, then the fault. A step of secure aggregation may name its purpose: `query.mask:test/*/*`.
The same text works in this process and in worker processes.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedward_client.daemon.app import app as honest_app
from fedward_client.daemon.site_state import open_site
from fedward_common.crypto.signing import SigningKey
from fedward_common.evaluation.checked_counts import MAX_CASES, NUM_SCORE_BINS
from fedward_common.identities import COORDINATOR
from fedward_common.secagg.messages import Signed, UnmaskAnswer, decode, encode
from fedward_common.secagg.signed_items import sign_item
from fedward_common.wire.envelope import (
    Subject,
    WireArray,
    hashes_of_arrays,
    sign_envelope,
)
from fedward_common.wire.flower_records import array_record, envelope_of, records_of
from fedward_common.wire.header import Header, decode_header
from fedward_common.wire.messages import (
    SecureStep,
    SecureStepReply,
    decode_message,
    encode_message,
)

HANGING = "hanging"  # a file in the home of a site that hangs
NAME_OF_A_PATIENT = "Schmidt^Anna"
Array = WireArray


def fault_for(faults: str, kind: str, header: Header) -> str:
    """Find the fault of a message, if it has one."""
    for part in filter(None, faults.split(";")):
        where, _, fault = part.partition("=")
        of_kind, *of_round = where.split("/")
        wanted = zip(of_round, (header.round, header.attempt), strict=True)
        if of_kind in ("*", kind, kind.partition(":")[0]) and all(
            pattern in ("*", str(value)) for pattern, value in wanted
        ):
            return fault
    return ""


def signed_again(key: SigningKey, reply: Message, request: Message, **changes: Any) -> Message:
    """Give a reply with other arrays or header fields, signed as if the site meant it."""
    envelope, arrays = envelope_of(reply.content)
    header = decode_header(envelope.header_bytes)
    arrays = changes.pop("arrays", arrays)
    subject = Subject(
        header.consortium,
        header.run,
        header.manifest_sha256,
        changes.pop("round", header.round),
        header.attempt,
    )
    again = sign_envelope(
        key,
        subject=subject,
        sender=changes.pop("sender", header.sender),
        recipient=changes.pop("recipient", COORDINATOR),
        kind=changes.pop("kind", header.kind),
        body=changes.pop("body", envelope.body),
        arrays_sha256=hashes_of_arrays(arrays),
        in_reply_to=changes.pop("in_reply_to", header.in_reply_to),
    )
    return Message(records_of(again, array_record(arrays)), reply_to=request)


def _raise(request: Message, reply: Message, key: SigningKey) -> Message:
    raise RuntimeError(f"cannot read /data/{NAME_OF_A_PATIENT}.dcm")


def _other(name: str, change: Callable[[Array], Array]) -> Callable[..., Message]:
    def fault(request: Message, reply: Message, key: SigningKey) -> Message:
        _, arrays = envelope_of(reply.content)
        changed = {n: change(a) if n == name else a for n, a in arrays.items()}
        return signed_again(key, reply, request, arrays=changed)

    return fault


def _other_update(change: Callable[[Array], Array]) -> Callable[..., Message]:
    return _other("update", change)


def _more_in_lane(place: int, more: int) -> Callable[..., Message]:
    """Add to one number behind its mask; from the end if `place` is negative."""

    def change(lane: Array) -> Array:
        spoiled = lane.copy()
        spoiled[place] += more
        return spoiled

    return _other("lane", change)


def _flipped_on_the_way(request: Message, reply: Message, key: SigningKey) -> Message:
    """Flip a bit of the vector that the site signed."""
    envelope, arrays = envelope_of(reply.content)
    changed: dict[str, Any] = {name: np.array(array) for name, array in arrays.items()}
    vector = changed.get("masked", next(iter(changed.values())))
    vector.view(np.uint8)[len(vector) // 2] ^= 1
    return Message(records_of(envelope, array_record(changed)), reply_to=request)


def _other_change(change: Callable[[Array], Array] | None) -> Callable[..., Message]:
    def fault(request: Message, reply: Message, key: SigningKey) -> Message:
        _, arrays = envelope_of(reply.content)
        changed = dict(arrays)
        vector = changed.pop("control-variate-change")
        if change is not None:
            changed["control-variate-change"] = change(vector)
        return signed_again(key, reply, request, arrays=changed)

    return fault


def _one_nan(update: Array) -> Array:
    spoiled = update.copy()
    spoiled[len(spoiled) // 2] = np.nan
    return spoiled


def _crowd(request: Message, reply: Message, key: SigningKey) -> Message:
    """Claim as many validation patients as one message may."""
    _, arrays = envelope_of(reply.content)
    crowd = np.zeros_like(arrays["sums"])
    crowd[0] = crowd[-1] = MAX_CASES  # the first bin of the negatives, and the count
    crowd[2 * NUM_SCORE_BINS] = MAX_CASES  # confusion [0, 0]
    return signed_again(key, reply, request, arrays={**arrays, "sums": crowd})


def _garbage(request: Message, reply: Message, key: SigningKey) -> Message:
    return Message(RecordDict({"noise": ConfigRecord({"bytes": b"\xff\x00"})}), reply_to=request)


def _unsigned(request: Message, reply: Message, key: SigningKey) -> Message:
    return signed_again(SigningKey.generate(), reply, request)


def _other_body(request: Message, reply: Message, key: SigningKey) -> Message:
    """Answer a step with bytes that are no answer to it, signed as if the site meant it."""
    envelope, _ = envelope_of(reply.content)
    body = decode_message(decode_header(envelope.header_bytes).kind, envelope.body)
    if not isinstance(body, SecureStepReply):
        raise TypeError("only steps of secure aggregation have such an answer")
    spoiled = SecureStepReply(body.step, body.body[:-1] + bytes([body.body[-1] ^ 1]))
    return signed_again(key, reply, request, body=encode_message(spoiled)[1])


def _not_in_advance(request: Message, reply: Message, key: SigningKey) -> Message:
    """Sign nothing with the masked vector, as a site of a release that did not."""
    return signed_again(key, reply, request, body=encode_message(SecureStepReply("mask", b""))[1])


def _wrong_share(request: Message, reply: Message, key: SigningKey) -> Message:
    """Reveal a share that was never dealt, signed as if the site meant it."""
    envelope, _ = envelope_of(reply.content)
    body = decode_message(decode_header(envelope.header_bytes).kind, envelope.body)
    if not isinstance(body, SecureStepReply):
        raise TypeError("shares are revealed in a step of secure aggregation")
    answer = decode(UnmaskAnswer, decode(Signed, body.body).body)
    first = dataclasses.replace(answer.shares[0], share=bytes(len(answer.shares[0].share)))
    lied = dataclasses.replace(answer, shares=(first, *answer.shares[1:]))
    spoiled = SecureStepReply(body.step, encode(sign_item(lied, key)))
    return signed_again(key, reply, request, body=encode_message(spoiled)[1])


def _unsealed(request: Message, reply: Message, key: SigningKey) -> Message:
    """Send a vector as it is, in a run that seals them."""
    return signed_again(key, reply, request, arrays={"update": np.zeros(9, dtype=np.float32)})


def _die(request: Message, reply: Message, key: SigningKey) -> Message:
    os._exit(3)


def _hang(request: Message, reply: Message, key: SigningKey) -> Message:
    while True:  # until the Grid ends this process
        time.sleep(3600)


FAULTS: dict[str, Callable[[Message, Message, SigningKey], Message]] = {
    "raise": _raise,
    "nan": _other_update(_one_nan),
    "nan-change": _other_change(_one_nan),
    "no-change": _other_change(None),
    "shape": _other_update(lambda update: update[:-1]),
    "dtype": _other_update(lambda update: update.astype(np.int64)),
    "huge": _other_update(lambda update: np.full_like(update, 3e38)),
    "crowd": _crowd,
    "garbage": _garbage,
    "unsigned": _unsigned,
    "cut-masked": _other("masked", lambda masked: masked[:-1]),
    "masked-floats": _other("masked", lambda masked: masked.view(np.float32)),
    "other-masked": _other("masked", lambda masked: masked.view(np.uint8) ^ np.uint8(0x5A)),
    "cut-lane": _other("lane", lambda lane: lane[:-1]),
    "counted-twice": _more_in_lane(0, 1),
    "heavier": _more_in_lane(1, 1 << 20),
    "other-sums": _more_in_lane(-1, 1 << 40),
    "other-body": _other_body,
    "not-in-advance": _not_in_advance,
    "wrong-share": _wrong_share,
    "flip": _flipped_on_the_way,
    "flip-sealed": _other("sealed", lambda box: box ^ (np.arange(len(box)) == 2000)),
    "unsealed": _unsealed,
    "die": _die,
    "hang": _hang,
}
CODES = {
    "raise": "CLIENT_APP_RAISED",
    "nan": "NON_FINITE",
    "shape": "WEIGHTS_MISMATCH",
    "dtype": "WEIGHTS_MISMATCH",
    "garbage": "MALFORMED_MESSAGE",
    "unsigned": "UNVERIFIED_MESSAGE",
    "late": "LATE",
}


def _kind_of(message: Message) -> str:
    envelope, _ = envelope_of(message.content)
    kind = message.metadata.message_type
    asked = decode_message(decode_header(envelope.header_bytes).kind, envelope.body)
    return f"{kind}:{asked.purpose}" if isinstance(asked, SecureStep) else kind


class FaultySite(ClientApp):
    """The honest app, and what goes wrong with its answers."""

    def __call__(self, message: Message, context: Context) -> Message:
        header = decode_header(envelope_of(message.content)[0].header_bytes)
        kind = _kind_of(message)
        fault = fault_for(str(context.node_config.get("faults", "")), kind, header)
        if fault == "hang":
            (Path(str(context.node_config["site-home"])) / HANGING).touch()
        if fault == "gone":  # the message never reached the site
            raise ConnectionError("no route")
        if fault in ("die", "hang"):
            return FAULTS[fault](message, message, SigningKey.generate())
        reply = honest_app(message, context)
        if fault not in FAULTS:
            return reply
        key = open_site(Path(str(context.node_config["site-home"]))).key
        return FAULTS[fault](message, reply, key)


app = FaultySite()

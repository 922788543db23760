"""What every step of a member asks of its own state first."""

import dataclasses
import hashlib
import hmac

from fedward_client.secagg.member_state import (
    Answered,
    MemberRules,
    MemberState,
    RoundSecrets,
    Stage,
)
from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.rules import verify_own_binding
from fedward_common.secagg.signed_items import Directory

# Names of the steps that have a request.
SHARE, MASK, CONFIRM, UNMASK = "share", "mask", "confirm", "unmask"
# What goes with the masked vector; its "request" is the list that is then confirmed.
CONFIRM_IN_ADVANCE = "confirm in advance"


def answer_given(state: MemberState, rules: MemberRules, step: str, request: bytes) -> bytes | None:
    """Give the answer to a request that was answered; None where the step is still open."""
    verify_own_binding(state.binding, rules.roster)
    if state.stage is Stage.ABANDONED:
        raise AggregationRefusedError(
            f"attempt {state.binding.attempt} was abandoned by this site",
            hint="it takes part in the next one",
            code=codes.ABANDONED,
        )
    answered = state.answered.get(step)
    if answered is None:
        return None
    if not hmac.compare_digest(answered.request_sha256, hashlib.sha256(request).digest()):
        raise AggregationRefusedError(
            f"a second, different request of the step {step!r}",
            hint="a site answers each step of an attempt once",
            code=codes.SECOND_REQUEST,
        )
    return answered.answer


def with_answer(state: MemberState, step: str, request: bytes, answer: bytes) -> MemberState:
    """Give the state that remembers what was asked and answered."""
    answered = Answered(hashlib.sha256(request).digest(), answer)
    return dataclasses.replace(state, answered={**state.answered, step: answered})


def require_stage(state: MemberState, stage: Stage) -> None:
    """Check that a step is the next one."""
    if state.stage is not stage:
        raise _out_of_order(state, stage)


def confirmed_of(state: MemberState) -> Answered:
    """Give the one confirmation that counts: the last one, or else that which was in advance."""
    confirmed = state.answered.get(CONFIRM) or state.answered.get(CONFIRM_IN_ADVANCE)
    if confirmed is None:
        raise _out_of_order(state, Stage.CONFIRMED)
    return confirmed


def directory_of(state: MemberState) -> Directory:
    """Give the directory that this site shared in."""
    if state.directory is None:
        raise AggregationRefusedError("no directory was shown yet", code=codes.OUT_OF_ORDER)
    return state.directory


def secrets_of(state: MemberState) -> RoundSecrets:
    """Give the secrets, which are there until the attempt ends."""
    if state.secrets is None:
        raise closed_error("answered")
    return state.secrets


def private_keys_of(state: MemberState) -> tuple[HybridPrivateKey, HybridPrivateKey]:
    """Give the seal key and the mask key, which are there until packets are opened."""
    secrets = secrets_of(state)
    if secrets.seal_private is None or secrets.mask_private is None:
        raise closed_error("answered")
    return secrets.own_keys or (
        HybridPrivateKey.from_secret(secrets.seal_private),
        HybridPrivateKey.from_secret(secrets.mask_private),
    )


def closed_error(what: str) -> AggregationRefusedError:
    """Say that an attempt is over for this site."""
    return AggregationRefusedError(
        f"this attempt cannot be {what}: its secrets were destroyed",
        hint="the round is over for this site",
        code=codes.CLOSED,
    )


def _out_of_order(state: MemberState, needed: Stage) -> AggregationRefusedError:
    return AggregationRefusedError(
        f"this site is {state.stage.value}, it would have to be {needed.value}",
        hint="the steps of an attempt follow each other",
        code=codes.OUT_OF_ORDER,
    )

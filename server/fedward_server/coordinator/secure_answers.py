"""What an attempt of secure aggregation is bound to, and what comes of a step: pure helpers."""

from fedward_common.consortium.roster import Roster
from fedward_common.secagg.binding import RoundBinding, weights_sha256_of
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.wire import messages
from fedward_server.coordinator.exchange import (
    UNEXPECTED_ANSWER,
    Answer,
    Failure,
    Question,
)
from fedward_server.coordinator.run_setup import RunSetup

# What is longer is no confirmation, cut or whole; whole, members could fill the memory with it.
_MOST_CONFIRMATION_BYTES = 1 << 10


def binding_of(
    setup: RunSetup,
    roster: Roster,
    purpose: messages.SecurePurpose,
    question: Question,
    layout: ContributionLayout,
) -> RoundBinding:
    """Give what every key of an attempt is bound to."""
    subject = question.subject
    return RoundBinding(
        consortium=subject.consortium,
        run=subject.run,
        purpose=purpose,
        round=subject.round,
        attempt=subject.attempt,
        manifest_sha256=subject.manifest_sha256,
        roster_version=roster.version,
        roster_sha256=roster.sha256,
        weights_sha256=weights_sha256_of(question.arrays_sha256),
        codec_sha256=layout.sha256,
        suite=setup.manifest.suite,
    )


def failure_of(outcome: Answer | Failure) -> Failure:
    """Give why there is no answer; one that is there is none that was asked for."""
    return Failure(outcome.site, UNEXPECTED_ANSWER) if isinstance(outcome, Answer) else outcome


def is_reply(outcome: Answer | Failure, step: messages.SecureStepName, arrays: set[str]) -> bool:
    """Say whether it is the answer to a step, with just these arrays beside it."""
    return (
        isinstance(outcome, Answer)
        and isinstance(outcome.message, messages.SecureStepReply)
        and outcome.message.step == step
        and set(outcome.arrays) == arrays
    )


def signed_beside(outcome: Answer | Failure) -> bytes:
    """Give what a site signed in advance, beside its masked vector; it is not checked."""
    if isinstance(outcome, Answer) and isinstance(outcome.message, messages.SecureStepReply):
        return outcome.message.body[:_MOST_CONFIRMATION_BYTES]
    return b""

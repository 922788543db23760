"""What a site does with each message of the coordinator.

A message counts only if the trusted coordinator signed it for this site, or for all, and it names a
run this site accepted. Answers carry what the design's table allows and nothing else; an error
leaves as its code.
"""

from fedward_client.daemon.answered_questions import note_answered, was_answered
from fedward_client.daemon.audit import audit_note, audit_refusal, audit_repetition
from fedward_client.daemon.run_result import take_result
from fedward_client.daemon.sealed_replies import sealed_reply
from fedward_client.daemon.secure_rounds import answer_step
from fedward_client.daemon.site_log import kind_and_place
from fedward_client.daemon.site_state import OpenRun, OpenSite
from fedward_client.daemon.site_work import (
    Answered,
    answer_evaluation,
    answer_training,
    layout_of_step,
    published_band,
)
from fedward_client.jobs.egress_record import Departure, note_departure
from fedward_client.jobs.job_gate import (
    WAITING_FOR_APPROVAL,
    require_going_on,
    require_not_ended,
)
from fedward_common.errors import DiskFullError, FedwardError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR
from fedward_common.wire import messages
from fedward_common.wire.envelope import (
    Arrays,
    Envelope,
    Subject,
    hashed,
    hashes_of_arrays,
    sign_envelope,
    verify_envelope,
)
from fedward_common.wire.header import Header
from fedward_common.wire.manifest import decode_manifest
from fedward_common.wire.protocol_versions import require_spoken, require_version_of_run
from fedward_common.wire.run_result import RunResult


def answer_request(
    site: OpenSite, unverified: Envelope, arrays: Arrays, flower_type: str
) -> tuple[Envelope, Arrays]:
    """Verify a request, do what it asks, and sign the answer.

    Raises:
        FedwardError: The request cannot be believed, so nothing signed is said about it.
    """
    header = verify_envelope(unverified, arrays, lambda _: site.coordinator_key, any_protocol=True)
    _verify_addressee(site, header)
    is_again = _note_if_again(site, header, unverified)
    try:
        require_spoken(header.protocol)
        message, answer_arrays = _dispatch(site, header, unverified, arrays, flower_type)
    except Exception as error:
        # The text of a library's exception may quote a patient's data: only its type is kept.
        _log_refusal(site, header, error)
        audit_refusal(site, header, _message_in(header, unverified), error)
        answer_arrays = {}
        message = messages.Refusal(
            error.code if isinstance(error, FedwardError) else "INTERNAL_ERROR"
        )
    sent = hashed(answer_arrays)
    signed = _signed(site, header, unverified, message, sent)
    if site.is_simulated:  # nothing leaves anywhere
        return signed, sent
    try:
        _note_departure(site, header, signed, message, sent)
        if not is_again and not isinstance(message, messages.Refusal):
            _remember(site, header, unverified)
    except DiskFullError as error:
        # What cannot be listed does not leave; that a disk is full is a code, and may.
        _log_refusal(site, header, error)
        audit_refusal(site, header, _message_in(header, unverified), error)
        return _signed(site, header, unverified, messages.Refusal(error.code), {}), {}
    return signed, sent


def _remember(site: OpenSite, header: Header, envelope: Envelope) -> None:
    try:
        note_answered(site.home, header.run, envelope.sha256)
    except OSError as error:  # no guarantee depends on it, so the answer leaves all the same
        site.log.warning("%s: an answer is not remembered: %s", site.site_id, kind_and_place(error))


def _note_if_again(site: OpenSite, header: Header, envelope: Envelope) -> bool:
    """Write it down where this very message was answered before; say whether it was."""
    if site.is_simulated or not was_answered(site.home, header.run, envelope.sha256):
        return False
    audit_repetition(site, header, _message_in(header, envelope))
    return True


def _note_departure(
    site: OpenSite, header: Header, signed: Envelope, message: messages.Message, arrays: Arrays
) -> None:
    kind, _ = messages.encode_message(message)
    departure = Departure(
        run=header.run,
        kind=kind,
        round=header.round,
        code=message.code if isinstance(message, messages.Refusal) else "",
        message_bytes=len(signed.header_bytes) + len(signed.body) + len(signed.signature),
        array_bytes={name: array.nbytes for name, array in arrays.items()},
    )
    note_departure(site.home, departure, now_seconds=site.utc_seconds())


def _message_in(header: Header, envelope: Envelope) -> messages.Message | None:
    try:
        return messages.decode_message(header.kind, envelope.body)
    except FedwardError:
        return None


def _verify_addressee(site: OpenSite, header: Header) -> None:
    if header.sender != COORDINATOR or header.consortium != site.consortium:
        raise UnverifiedMessageError("the message is not from this consortium's coordinator")
    if header.recipient not in (site.site_id, ""):
        raise UnverifiedMessageError("the message is addressed to another site")


def _log_refusal(site: OpenSite, header: Header, error: Exception) -> None:
    if isinstance(error, FedwardError) and error.code == WAITING_FOR_APPROVAL:
        return  # asked every few seconds; the first time was logged
    # Text of the peer never stands in the site's log, where it could pass for a line of its own.
    kind = header.kind if header.kind in messages.KINDS else "unknown kind"
    site.log.warning(
        "%s: %s in round %d: %s",
        site.site_id, kind, header.round, kind_and_place(error),
    )  # fmt: skip


def _signed(
    site: OpenSite, request: Header, envelope: Envelope, message: messages.Message, arrays: Arrays
) -> Envelope:
    kind, body = messages.encode_message(message)
    subject = Subject(
        request.consortium,
        request.run,
        request.manifest_sha256,
        request.round,
        request.attempt,
        request.protocol,
    )
    return sign_envelope(
        site.key,
        subject=subject,
        sender=site.site_id,
        recipient=COORDINATOR,
        kind=kind,
        body=body,
        arrays_sha256=hashes_of_arrays(arrays),
        in_reply_to=envelope.sha256,
    )


def _dispatch(
    site: OpenSite, header: Header, envelope: Envelope, arrays: Arrays, flower_type: str
) -> Answered:
    message = messages.decode_message(header.kind, envelope.body)
    if isinstance(message, messages.ManifestQuery) and flower_type == "query.manifest":
        return _consider(site, header, message), {}
    if not site.is_simulated:  # which has nobody who could have stopped it
        require_going_on(site, header.run, message)
    run = site.accepted_run(header.run, header.manifest_sha256)
    require_version_of_run(header.protocol, run.manifest.protocol)
    if isinstance(message, messages.TrainRound) and flower_type == "train.round":
        reply = answer_training(site, run, header, message, arrays)
        if not site.is_simulated:
            require_not_ended(site.home, header.run)  # somebody may have stopped it meanwhile
        return _sealed(site, run, envelope, reply)
    if isinstance(message, messages.EvaluateWeights):
        wanted = "evaluate.final" if message.split == "test" else "evaluate.validation"
        if flower_type == wanted:
            reply = answer_evaluation(site, run, header, message, arrays)
            require_not_ended(site.home, header.run)
            return _sealed(site, run, envelope, reply)
    if isinstance(message, messages.SecureStep) and flower_type == f"query.{message.step}":
        return _step(site, run, header, message)
    if isinstance(message, RunResult) and flower_type == "query.result" and not arrays:
        return take_result(site, run, header, message, envelope), {}
    raise UnverifiedMessageError("this kind of message is not for a site", code="UNEXPECTED_KIND")


def _sealed(site: OpenSite, run: OpenRun, request: Envelope, reply: Answered) -> Answered:
    message, arrays = reply
    if isinstance(message, messages.SecureReady):  # nothing is beside it
        return reply
    return message, sealed_reply(site, run.manifest, request.sha256, arrays)


def _consider(
    site: OpenSite, header: Header, query: messages.ManifestQuery
) -> messages.ManifestReply:
    require_version_of_run(header.protocol, decode_manifest(query.manifest).protocol)
    run = site.accept(query.manifest, query.roster, header.run)
    band = published_band(run)
    return messages.ManifestReply(band.low, band.high, run.view.unit)


def _step(site: OpenSite, run: OpenRun, header: Header, message: messages.SecureStep) -> Answered:
    if not run.job.secure_aggregation.enabled:
        raise UnverifiedMessageError("the run masks nothing", code="UNEXPECTED_KIND")
    reply, arrays, notes = answer_step(
        site, run, header, message, layout_of_step(run, message.purpose)
    )
    for note in notes:
        audit_note(site, header, message, note)
    return reply, arrays

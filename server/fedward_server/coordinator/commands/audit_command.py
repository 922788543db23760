"""`fedward audit verify`: whether journals and receipts are as they were written and signed.

A receipt proves to a third party that a site was told a result while the journal stood at a certain
line. It is checked by the keys in the run's own roster, as they counted when it was issued, also
where the journal does not name it: a journal written anew may leave it out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import CorruptFileError, FedwardError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire.envelope import Envelope, Subject, verify_envelope, verify_subject
from fedward_common.wire.header import Header
from fedward_common.wire.kept_envelope import SignedExchange, decode_exchange
from fedward_common.wire.messages import Message, decode_message
from fedward_common.wire.run_result import ResultReceipt, RunResult
from fedward_server.coordinator.commands.result_command import setup_of
from fedward_server.coordinator.commands.run_view import RunView, names_of_runs, view_of
from fedward_server.coordinator.commands.shown import print_json, print_line, print_table
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_closing import receipt_file
from fedward_server.coordinator.run_setup import RunSetup

_HINT = "keep it for whoever looks into this, and restore the run's folder from its backup"


@dataclass(frozen=True)
class VerifiedRun:
    """What was found sound of one run.

    Attributes:
        head: SHA-256 of the journal's last line; empty where there is none.
        receipts: Of the sites that signed one: the blinded head of each one's audit log then.
    """

    run: str
    num_lines: int
    head: str
    receipts: dict[str, str]


def run_audit_verify(home: CoordinatorHome, name: str | None, *, json_output: bool) -> None:
    """Check one run, or all.

    Raises:
        ConfigurationError: There is no such run.
        CorruptFileError: Something was changed since it was written or signed.
    """
    names = names_of_runs(home) if name is None else [name]
    verified = [verify_run(home, view_of(home, one)) for one in names]
    if json_output:
        print_json([vars(one) for one in verified])
        return
    if not verified:
        print_line("No run yet.")
        return
    rows = ((one.run, one.num_lines, ", ".join(one.receipts), one.head[:16]) for one in verified)
    print_table(("run", "lines", "receipts", "head"), rows)
    print_line("All journals and receipts are sound. Keep the heads elsewhere (--json has them")
    print_line("in full): a journal cannot say whether its last lines were cut off.")


def verify_run(home: CoordinatorHome, view: RunView) -> VerifiedRun:
    """Check a run's journal, each receipt that it names and each that lies beside it.

    Args:
        home: With the coordinator's key and the authority's certificate.
        view: Of the run, whose reading has checked the chain.

    Raises:
        CorruptFileError: A receipt is gone, or not what was signed, or is of another journal, or is
            one that the journal of a finished run knows nothing of.
    """
    hashes = hashes_of_lines(view)
    named = view.history.receipts or {}
    sites = sorted({*named, *_sites_beside(view)})
    receipts: dict[str, str] = {}
    if sites:
        setup = setup_of(home, view)
        for site in sites:
            kept = _read_receipt(view, site, named.get(site))
            receipts[site] = _verify_receipt(setup, SiteId(site), kept, hashes)
    return VerifiedRun(view.name, len(view.entries), hashes[-1] if view.entries else "", receipts)


def hashes_of_lines(view: RunView) -> Sequence[str]:
    """Give the hash of the journal's first 0, 1, ... n lines."""
    previous = [str(entry["previous"]) for entry in view.entries]
    return [*previous, view.head]


def _sites_beside(view: RunView) -> Sequence[str]:
    """Give the sites whose receipts lie in the run's folder.

    Killed while it told its sites, a run has receipts that its journal does not name yet. When it
    goes on, a site may be away: then the journal says that it was not told, and the receipt stays.
    """
    before, after = receipt_file(view.folder, "*").name.split("*")
    files = view.folder.glob(f"{before}*{after}")
    sites = [file.name.removeprefix(before).removesuffix(after) for file in files]
    known = {*(view.history.receipts or {}), *view.history.untold}
    unknown = sorted({*sites} - known)
    if view.history.finished and unknown:
        file = receipt_file(view.folder, unknown[0])
        raise CorruptFileError(f"the journal knows nothing of {file}", hint=_HINT)
    return sites


def _read_receipt(view: RunView, site: str, sha256: str | None) -> SignedExchange:
    file = receipt_file(view.folder, site)
    try:
        content = file.read_bytes()
        exchange = decode_exchange(content)
    except (OSError, FedwardError) as error:
        raise CorruptFileError(f"{file} cannot be read", hint=_HINT) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError(f"{file} is not the one that the journal names", hint=_HINT)
    return exchange


def _verify_receipt(
    setup: RunSetup, site: SiteId, kept: SignedExchange, hashes: Sequence[str]
) -> str:
    """Check both signatures and what they are over; give the site's blinded audit head."""
    try:
        told, receipt = _verified_messages(setup, site, kept)
    except FedwardError as error:
        raise CorruptFileError(
            f"the receipt of {site} is not what was signed: {error}", hint=_HINT
        ) from error
    if told.journal_lines >= len(hashes) or hashes[told.journal_lines] != told.journal_head:
        raise CorruptFileError(
            f"line {told.journal_lines} of the journal is not the one that {site} was told of",
            hint=_HINT,
        )
    return receipt.audit_head


def _verified_messages(
    setup: RunSetup, site: SiteId, kept: SignedExchange
) -> tuple[RunResult, ResultReceipt]:
    coordinator = setup.roster.entry_of(setup.manifest.coordinator).key
    _, told = _verified(setup, kept.request, coordinator, recipient=site)
    key = setup.roster.entry_of(site).key
    header, receipt = _verified(setup, kept.reply, key, recipient=COORDINATOR)
    is_answer = (header.sender, header.in_reply_to) == (site, kept.request.sha256)
    if not (is_answer and isinstance(told, RunResult) and isinstance(receipt, ResultReceipt)):
        raise CorruptFileError("it is no answer to a result")
    return told, receipt


def _verified(
    setup: RunSetup, envelope: Envelope, key: VerifyingKey, *, recipient: str
) -> tuple[Header, Message]:
    header = verify_envelope(envelope, {}, lambda _: key, any_protocol=True)
    manifest = setup.manifest
    expected = Subject(
        manifest.consortium,
        manifest.run,
        setup.manifest_sha256,
        header.round,
        header.attempt,
        manifest.protocol,
    )
    verify_subject(header, expected, recipient=recipient)
    return header, decode_message(header.kind, envelope.body)

"""Whether the results that this site was told are what the coordinator signed, and are logged.

For each: the coordinator of the run's own roster signed it, for this site, run and manifest; the
audit log has its line; and log and ledger still are continuations of what the receipt says. Its
heads are blinded, and only this home finds whose they are. A log or ledger that was written anew
from some line on, chain and all, no longer fits its receipts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedward_client.daemon.audit import AUDIT_FILE, open_audit
from fedward_client.jobs.told_result import kept_receipt, told_result
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_client.site_settings import SiteSettings
from fedward_common.consortium.certificates import read_authority
from fedward_common.consortium.roster import issued_at_seconds_of, verify_roster
from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import CorruptFileError, FedwardError
from fedward_common.identities import COORDINATOR
from fedward_common.settings import from_table, read_toml
from fedward_common.wire.envelope import Envelope, Subject, verify_envelope, verify_subject
from fedward_common.wire.manifest import Manifest, decode_manifest, hash_of_manifest
from fedward_common.wire.run_result import ResultReceipt

_HINT = "keep it for whoever looks into this, and restore the home from its backup"


def verify_told_results(home: SiteHome) -> int:
    """Check every result that is kept, and every line of the audit log about one.

    Runs of a consortium that the home belonged to before are passed over: their authority is no
    longer believed here.

    Returns:
        How many results were checked.

    Raises:
        CorruptFileError: One is not as it was told, or the log or a file lacks it.
        LedgerDamagedError: The ledger is not the one that a receipt vouches for.
    """
    entries, head = _audit_log(home)
    runs = sorted(path.parent.name for path in home.folder.glob("runs/*/result.cbor"))
    missing = {str(entry["run"]) for entry in entries if "told" in entry} - set(runs)
    if missing:
        raise CorruptFileError(
            f"the audit log has a result of run {min(missing)}, which is gone", hint=_HINT
        )
    if not runs:
        return 0
    settings = from_table(SiteSettings, read_toml(home.settings_file))
    key = home.seal_key()
    heads = [blinded(one, key) for one in (*(entry["previous"] for entry in entries), head)]
    num_checked = 0
    for run in runs:
        folder = home.run_folder(run)
        manifest_bytes = _read(folder / "manifest.cbor")
        if decode_manifest(manifest_bytes, as_record=True).consortium != settings.consortium:
            continue
        _verify_signed(home, settings.site, folder, manifest_bytes)
        _verify_receipt(home, run, entries, heads)
        num_checked += 1
    return num_checked


def _audit_log(home: SiteHome) -> tuple[Sequence[Mapping[str, Any]], str]:
    if not (home.folder / AUDIT_FILE).exists():
        return [], ""
    with open_audit(home) as log:
        return list(log.entries()), log.head


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read", hint=_HINT) from error


def _verify_signed(home: SiteHome, site: str, folder: Path, manifest_bytes: bytes) -> None:
    told = told_result(home, folder.name)
    manifest = decode_manifest(manifest_bytes, as_record=True)
    subject = (manifest.consortium, manifest.run, hash_of_manifest(manifest_bytes))
    try:
        key = _coordinators_key(home, folder, manifest)
        envelope = told.envelope if told else Envelope(b"", b"", b"")
        header = verify_envelope(envelope, {}, lambda _: key, any_protocol=True)
        expected = Subject(*subject, header.round, header.attempt, manifest.protocol)
        verify_subject(header, expected, recipient=site)
        is_of_run = header.run == folder.name and header.sender == COORDINATOR
    except FedwardError as error:
        raise CorruptFileError(
            f"{folder / 'result.cbor'} is not what the run's coordinator signed: {error}",
            hint=_HINT,
        ) from error
    if not is_of_run:
        raise CorruptFileError(f"{folder / 'result.cbor'} is of another run", hint=_HINT)


def _coordinators_key(home: SiteHome, folder: Path, manifest: Manifest) -> VerifyingKey:
    """Give the key in the roster that the run was accepted under, as it counted then."""
    signed = _read(folder / "roster.cbor")
    authority = read_authority(_read(home.authority_file))
    roster = verify_roster(signed, authority, now_seconds=issued_at_seconds_of(signed))
    if roster.sha256 != manifest.roster_sha256:
        raise CorruptFileError("the roster is not the one that the manifest names")
    return roster.entry_of(manifest.coordinator).key


def _verify_receipt(
    home: SiteHome, run: str, entries: Sequence[Mapping[str, Any]], heads: Sequence[str]
) -> None:
    """Check a receipt against the log, whose blinded heads after 0, 1, ... n lines these are."""
    told, receipt = told_result(home, run), kept_receipt(home, run)
    if told is None or receipt is None:  # cut short before anything was signed
        return
    wanted = {
        "run": run,
        "result_sha256": told.envelope.sha256,
        "journal_head": told.message.journal_head,
    }
    lines = enumerate(entries, start=1)
    told_in = [n for n, entry in lines if "told" in entry and wanted.items() <= entry.items()]
    if not told_in:
        raise CorruptFileError(f"the audit log has no line of run {run}'s result", hint=_HINT)
    if receipt.audit_head not in heads[told_in[0] :]:
        raise CorruptFileError(
            f"the audit log no longer has the line that run {run}'s receipt was signed over",
            hint=_HINT,
        )
    _verify_ledger(home, receipt)


def _verify_ledger(home: SiteHome, receipt: ResultReceipt) -> None:
    if not receipt.ledger_head:
        return
    if ledger_folder(home).is_unused():
        raise ledger_damaged("a receipt vouches for a ledger that is gone")
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        ledger.require_descends_from(receipt.ledger_head, home.seal_key())

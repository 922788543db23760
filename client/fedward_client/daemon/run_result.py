"""The last message of a run: the site keeps what it is told, and signs how its own records stand.

The result is on the disk before the audit log has its line, and both are before the receipt is
signed. Whatever is cut short is done again when the coordinator asks again. Another result of the
same run is refused for ever.
"""

from typing import TYPE_CHECKING

from fedward_client.daemon.audit import open_audit
from fedward_client.jobs.own_result import own_thresholds
from fedward_client.jobs.told_result import (
    keep_receipt,
    keep_result,
    kept_receipt,
    told_result,
)
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.run_result import ResultReceipt, RunResult

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenRun, OpenSite
    from fedward_client.site_home import SiteHome
    from fedward_common.wire.envelope import Envelope
    from fedward_common.wire.header import Header

RESULT_LINE = "result"
"""What an audit line about a result says it `told`."""


def take_result(
    site: "OpenSite", run: "OpenRun", header: "Header", message: RunResult, envelope: "Envelope"
) -> ResultReceipt:
    """Keep what came of a run, and give the receipt for it.

    Args:
        site: Whose home it is kept in.
        run: Accepted, of the manifest that the message names.
        header: Of the request, verified.
        message: What it says.
        envelope: The request as it was signed.

    Raises:
        UnverifiedMessageError: It is addressed to nobody by name; `RESULT_DIFFERS`, where another
            result was told before; or `ROUND_OUT_OF_RANGE`.
        MalformedMessageError: The numbers are none that this run can have.
        CorruptFileError: What was kept, or the audit log, is damaged.
        LedgerDamagedError: The ledger cannot be believed, so nothing is signed for it.
    """
    _require_fits(run, header, message)
    run_id = run.manifest.run
    told = told_result(site.home, run_id)
    if told is None:
        keep_result(site.home, run_id, envelope)
    elif told.message != message:
        raise UnverifiedMessageError(
            "the coordinator told another result of this run before",
            hint="ask it which of the two is in its journal",
            code="RESULT_DIFFERS",
        )
    else:
        envelope = told.envelope
    receipt = kept_receipt(site.home, run_id)
    if receipt is None:
        receipt = _receipt_for(site, run_id, message, envelope)
        keep_receipt(site.home, run_id, receipt)
    return receipt


def _require_fits(run: "OpenRun", header: "Header", message: RunResult) -> None:
    if not header.recipient:
        raise UnverifiedMessageError(
            "a result is told to one site", hint="address it to the site by its name"
        )
    if not 1 <= header.round <= run.job.job.rounds:
        raise UnverifiedMessageError("the job has no such round", code="ROUND_OUT_OF_RANGE")
    if max(message.selected_round, message.rounds_committed) > header.round:
        raise MalformedMessageError("the result is of later rounds than the run's last")
    if message.num_sites > run.roster.num_sites_named:
        raise MalformedMessageError("the result is of more sites than the run's roster has")
    own_thresholds(message, run.job.task)


def _receipt_for(
    site: "OpenSite", run_id: str, message: RunResult, envelope: "Envelope"
) -> ResultReceipt:
    line = {
        "told": RESULT_LINE,
        "run": run_id,
        "result_sha256": envelope.sha256,
        "journal_head": message.journal_head,
    }
    with open_audit(site.home) as log:
        if not any(line.items() <= entry.items() for entry in log.entries()):
            log.append({"utc_seconds": round(site.utc_seconds(), 3), **line})
        audit_head = blinded(log.head, site.home.seal_key())
        return ResultReceipt(audit_head, _blinded_ledger_head(site.home))


def _blinded_ledger_head(home: "SiteHome") -> str:
    if ledger_folder(home).is_unused():
        return ""
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        return ledger.blinded_head(home.seal_key())

"""What the coordinator told this site of a run's end, as it signed it.

`runs/RUN/result.cbor` is the coordinator's envelope, with the very bytes that it signed;
`receipt.cbor` is what the site signs for it, the same however often it is asked. They stay with the
run. A run of which there is a result is over here.
"""

from dataclasses import dataclass
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError, FedwardError, UnverifiedMessageError
from fedward_common.wire.envelope import Envelope
from fedward_common.wire.header import decode_header
from fedward_common.wire.kept_envelope import decode_envelope, encode_envelope
from fedward_common.wire.messages import decode_message, encode_message
from fedward_common.wire.run_result import ResultReceipt, RunResult

_RESULT = "result.cbor"
_RECEIPT = "receipt.cbor"
_RECEIPT_KIND = "result.receipt"


@dataclass(frozen=True)
class ToldResult:
    """A result, and the envelope that it came in."""

    envelope: Envelope
    message: RunResult


def require_no_result(home: SiteHome, run: str) -> None:
    """Check that a run may still train.

    Raises:
        UnverifiedMessageError: `RUN_ENDED`.
    """
    if _file(home, run, _RESULT).exists():
        raise UnverifiedMessageError(
            "the coordinator has told what came of this run, so it is over",
            hint="it has to begin a new run",
            code="RUN_ENDED",
        )


def told_result(home: SiteHome, run: str) -> ToldResult | None:
    """Give what was told of a run; None where nothing was.

    Raises:
        CorruptFileError: The file is damaged. Its signature is not looked at.
    """
    path = _file(home, run, _RESULT)
    try:
        envelope = decode_envelope(path.read_bytes())
        header = decode_header(envelope.header_bytes, any_protocol=True)
        message = decode_message(header.kind, envelope.body)
    except FileNotFoundError:
        return None
    except FedwardError as error:
        raise _damaged(path) from error
    if not isinstance(message, RunResult):
        raise _damaged(path)
    return ToldResult(envelope, message)


def keep_result(home: SiteHome, run: str, envelope: Envelope) -> None:
    """Write down what was told of a run; the caller has verified it."""
    write_atomically(_file(home, run, _RESULT), encode_envelope(envelope), mode=0o600)


def kept_receipt(home: SiteHome, run: str) -> ResultReceipt | None:
    """Give what was signed for a run's result; None where nothing was yet.

    Raises:
        CorruptFileError: The file is damaged.
    """
    path = _file(home, run, _RECEIPT)
    try:
        receipt = decode_message(_RECEIPT_KIND, path.read_bytes())
    except FileNotFoundError:
        return None
    except FedwardError as error:
        raise _damaged(path) from error
    return receipt if isinstance(receipt, ResultReceipt) else None


def keep_receipt(home: SiteHome, run: str, receipt: ResultReceipt) -> None:
    """Write a receipt down before it leaves."""
    _, body = encode_message(receipt)
    write_atomically(_file(home, run, _RECEIPT), body, mode=0o600)


def _file(home: SiteHome, run: str, name: str) -> Path:
    return home.run_folder(run) / name


def _damaged(path: Path) -> CorruptFileError:
    return CorruptFileError(f"{path} is damaged", hint="restore it from the backup")

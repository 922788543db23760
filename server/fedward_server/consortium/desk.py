"""Where a command of the office is given: folder, passphrase, clock, and the person to be asked."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError
from fedward_server.consortium.issuing import Authority
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_state import OfficeState
from fedward_server.consortium.passphrase import read_passphrase

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Desk:
    """What every command of the office is given.

    Args:
        folder: Of the office.
        passphrase_file: Holds the passphrase; None asks at the terminal.
        json: Print JSON.
        now_seconds: Gives seconds since 1970, UTC.
        ask: Puts a question to the person at the terminal; None where nobody is there.
    """

    folder: Path
    passphrase_file: Path | None = None
    json: bool = False
    now_seconds: Callable[[], float] = time.time
    ask: Ask | None = None

    def passphrase(self) -> SecretBytes:
        """Ask for the passphrase of an office that is there."""
        return read_passphrase(self.passphrase_file, is_new=False)

    def authority(self, office: Office, state: OfficeState) -> Authority:
        """Open the authority's key."""
        return office.open_authority(state, self.passphrase())


def ask_on_terminal(question: str) -> bool:
    """Ask on stderr; an empty answer is no."""
    import typer

    return typer.confirm(question, default=False, err=True)


def desk_at(folder: Path, passphrase_file: Path | None = None, *, json: bool = False) -> Desk:
    """Give the desk of a command, with the person at the terminal if there is one."""
    is_person = sys.stdin.isatty() and sys.stderr.isatty()
    return Desk(folder, passphrase_file, json, ask=ask_on_terminal if is_person else None)


def read_bounded(file: Path, max_bytes: int) -> bytes:
    """Read a file that came from elsewhere.

    Raises:
        MalformedMessageError: It is larger than it can be.
    """
    with file.open("rb") as opened:
        content = opened.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise MalformedMessageError(
            f"{file} is larger than {max_bytes} bytes", hint="is it the right file?"
        )
    return content

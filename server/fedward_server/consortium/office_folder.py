"""A consortium's office on disk.

```
authority.key     the authority's key, under a passphrase (0600); authority.key.new while it is made
register.jsonl    what happened, hash-chained (0600); it says everything else, rosters included
.lock             held while a command changes something
```
A command appends one line or none, so there is nothing to mend after a kill. Several commands may
run at a time; each decides under the lock by what the register says then.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fedward_common.atomic_files import sync_folder, write_atomically
from fedward_common.consortium.certificates import make_authority, read_authority
from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.file_lock import held_lock
from fedward_common.hash_chain import ChainedLines
from fedward_server.consortium.enrolment_desk import answer_enrolment
from fedward_server.consortium.issuing import DAY_SECONDS, Authority
from fedward_server.consortium.office_events import (
    Event,
    Founded,
    Requested,
    event_in,
    line_of,
)
from fedward_server.consortium.office_state import OfficeState, state_after
from fedward_server.consortium.passphrase import DEFAULT_LOG2_COST, open_at_rest, seal_at_rest

AUTHORITY_YEARS = 10
KEY_KIND = "fedward authority key 1"
MAX_KEY_FILE_BYTES = 4096

# Members' clocks may be behind, and so may the first certificate's begin.
_AUTHORITY_BEGINS_EARLIER_SECONDS = DAY_SECONDS

E = TypeVar("E", bound=Event)


class Office:
    """An office that was founded.

    Args:
        folder: Of the office.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self.register_file.exists():
            raise ConfigurationError(
                f"{folder} is no office of a consortium",
                hint="fedward consortium init makes one; check --home",
            )

    @property
    def register_file(self) -> Path:
        """`register.jsonl`."""
        return self.folder / "register.jsonl"

    @property
    def key_file(self) -> Path:
        """`authority.key`."""
        return self.folder / "authority.key"

    def state(self) -> OfficeState:
        """Give what the office knows now.

        Raises:
            CorruptFileError: The register was changed or is not one.
        """
        return self.change(lambda _: None)[0]

    def change(self, decide: Callable[[OfficeState], E | None]) -> tuple[OfficeState, E | None]:
        """Let one thing happen, durably, by what the office knows under its lock.

        Args:
            decide: Gives what happens, None for nothing; what it raises leaves all as it was.

        Returns:
            What the office knows afterwards, and what happened.

        Raises:
            CorruptFileError: The register was changed or is not one.
            DiskFullError: Nothing happened.
        """
        with held_lock(self.folder / ".lock"), ChainedLines(self.register_file) as lines:
            events = [event_in(line) for line in lines.entries()]
            state = _founded(state_after(events), self.folder)
            event = decide(state)
            if event is not None:
                lines.append(line_of(event))
                state = _founded(state_after([*events, event]), self.folder)
        return state, event

    def answer(self, unverified: bytes, *, now_seconds: float) -> bytes:
        """Answer a request that came online; what it changes is kept before this returns.

        Args:
            unverified: What came, from anybody.
            now_seconds: Since 1970, UTC.
        """
        answers: list[bytes] = []

        def decide(state: OfficeState) -> Requested | None:
            answered = answer_enrolment(state, unverified, now_seconds=now_seconds)
            answers.append(answered.answer)
            return answered.event

        self.change(decide)
        return answers[0]

    def open_authority(self, state: OfficeState, passphrase: SecretBytes) -> Authority:
        """Decrypt the authority's key for one command.

        Raises:
            ConfigurationError: `PASSPHRASE_WRONG`.
            CorruptFileError: The file is gone, damaged, or of another authority.
        """
        certificate = read_authority(state.authority)
        try:
            content = self.key_file.read_bytes()
        except FileNotFoundError:
            content = self._finished_key_file().read_bytes()
        raw = open_at_rest(content, passphrase, kind=KEY_KIND, max_bytes=MAX_KEY_FILE_BYTES)
        key = SigningKey.from_raw(raw)
        if key.verifying_key.raw != certificate.key.raw:
            raise CorruptFileError(
                f"{self.key_file} is not the key of this office's authority",
                hint="restore the folder from its backup",
            )
        return Authority(key, certificate)

    def _finished_key_file(self) -> Path:
        """Finish what a killed `init` had all but done."""
        new = _new_key_file(self.folder)
        if not new.exists():
            raise CorruptFileError(
                f"{self.key_file} is missing", hint="restore the folder from its backup"
            )
        new.replace(self.key_file)
        sync_folder(self.folder)
        return self.key_file


def found_office(
    folder: Path,
    *,
    consortium: str,
    passphrase: SecretBytes,
    now_seconds: float,
    certificate_days: int,
    roster_days: int,
    entropy: Entropy = os.urandom,
    log2_cost: int = DEFAULT_LOG2_COST,
) -> Office:
    """Make a consortium's authority, and an office without members.

    Args:
        folder: Of the office; made if it is not there.
        consortium: Its name.
        passphrase: Opens the authority's key.
        now_seconds: Since 1970, UTC.
        certificate_days: For which members' certificates count.
        roster_days: For which a version of the roster counts.
        entropy: Gives random bytes.
        log2_cost: Of a guess at the passphrase (`passphrase`).

    Raises:
        ConfigurationError: There is an office, or the name cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held_lock(folder / ".lock"):
        _require_no_office(folder)
        key = SigningKey.generate()
        begin = int(now_seconds) - _AUTHORITY_BEGINS_EARLIER_SECONDS
        authority = make_authority(
            key,
            consortium=consortium,
            not_before_seconds=begin,
            not_after_seconds=int(now_seconds) + AUTHORITY_YEARS * 365 * DAY_SECONDS,
            entropy=entropy,
        )
        sealed = seal_at_rest(
            key.to_raw(), passphrase, kind=KEY_KIND, entropy=entropy, log2_cost=log2_cost
        )
        write_atomically(_new_key_file(folder), sealed, mode=0o600)
        founded = Founded(
            int(now_seconds), consortium, authority.der, certificate_days, roster_days
        )
        with ChainedLines(folder / "register.jsonl") as lines:
            lines.append(line_of(founded))
        office = Office(folder)
        office._finished_key_file()
    return office


def _require_no_office(folder: Path) -> None:
    register, key = folder / "register.jsonl", folder / "authority.key"
    is_begun = register.exists() and register.stat().st_size > 0
    if is_begun and not register.read_bytes().count(b"\n"):
        is_begun = False  # a line that was cut short never happened
    if is_begun or key.exists():
        raise ConfigurationError(
            f"{folder} is an office already" if is_begun else f"{register} is gone",
            hint="choose another --home" if is_begun else "restore the office from its backup",
        )


def _founded(state: OfficeState | None, folder: Path) -> OfficeState:
    if state is None:
        raise ConfigurationError(
            f"the office in {folder} was not made to the end", hint="run init again"
        )
    return state


def _new_key_file(folder: Path) -> Path:
    return folder / "authority.key.new"

"""A new ledger in place of one that cannot be believed, signed by two persons.

Nothing that stands in the damaged one is trusted: neither which patients it names nor what they
spent. So every patient of the site counts as having no bound left in this window, unless the two
persons give a number, which then counts as disclosed by each of them. The old file is put aside,
the new one begins with who signed, why, what was wrong, and the old one's hash. Runs that were
open go on no more. A crash in between leaves a ledger that is damaged still.
"""

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from fedward_client.ledger.beginning import mark_begun
from fedward_client.ledger.charges import Charges
from fedward_client.ledger.entries import SCHEMA, Opened, Overridden, plain_of
from fedward_client.ledger.heads import Head, write_head
from fedward_client.ledger.ledger_folder import LedgerFolder
from fedward_client.ledger.site_ledger import Ledger
from fedward_client.ledger.utc_clock import UtcClock, utc_text
from fedward_common.atomic_files import sha256_of_file, sync_folder
from fedward_common.errors import ConfigurationError, LedgerDamagedError
from fedward_common.hash_chain import ChainedLines
from fedward_common.privacy.disclosures import Gaussian, Unbounded

_MAX_CHARACTERS = 200
# A multiplier a little below the one that was found, so that its rounding cannot spare anything.
_ROUNDING = 0.999


@dataclass(frozen=True)
class Signatures:
    """Who overrides, and why.

    Args:
        first: One person or office.
        second: Another one.
        reason: In their words.

    Raises:
        ConfigurationError: The two are one, or something is no line of text.
    """

    first: str
    second: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("first", "second", "reason"):
            text = getattr(self, name)
            if not text.strip() or len(text) > _MAX_CHARACTERS or not text.isprintable():
                raise ConfigurationError(
                    f"--{name} is empty, longer than {_MAX_CHARACTERS} characters or no plain text",
                    hint="write one line",
                )
        if _plain(self.first) == _plain(self.second):
            raise ConfigurationError(
                f"--first and --second both name {self.first!r}",
                hint="an override needs two persons",
            )


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def assumed_charges(epsilon: float | None, delta: float) -> Charges:
    """Give what every patient is taken to have disclosed: one Gaussian release of this epsilon.

    Args:
        epsilon: What the two persons vouch for; None for no bound.
        delta: The site's own.
    """
    if epsilon is None:
        return (Unbounded("an override without a number"),)
    from fedward_common.privacy.calibration import noise_multiplier_for

    sigma = noise_multiplier_for(epsilon, delta, sampling_rate=1.0, num_steps=1)
    return (Gaussian(sigma * _ROUNDING, 1),)


def override_ledger(
    folder: LedgerFolder,
    clock: UtcClock,
    signatures: Signatures,
    assumed: Charges,
    assumed_epsilon: float | None,
) -> Overridden:
    """Put a damaged ledger aside and begin a new one.

    Returns:
        The entry that says so.

    Raises:
        ConfigurationError: The ledger is sound; nothing was changed.
        LockedError: It is in use.
    """
    now = utc_text(clock.utc_now())
    found = _what_is_wrong(folder, clock, now)
    folder.create()
    with folder.locked():
        old = folder.entries_file
        entry = Overridden(
            now, signatures.first, signatures.second, signatures.reason, found,
            sha256_of_file(old) if old.is_file() else "", assumed, assumed_epsilon,
        )  # fmt: skip
        name = secrets.token_hex(16)
        new, head = _new_chain(folder, Opened(now, SCHEMA, name), entry)
        if old.exists():
            old.rename(_free_name(folder.path))
        new.rename(old)
        sync_folder(folder.path)
        for path in folder.heads:
            write_head(path, head)
        mark_begun(folder.begun_mark, folder.seal_key, name)
    return entry


def _what_is_wrong(folder: LedgerFolder, clock: UtcClock, now: str) -> str:
    """Say why a ledger cannot be used, as the message of the error that it refuses with."""
    if folder.is_unused():
        raise ConfigurationError(
            "there is no ledger here, and no sign that there was one", hint="check --home"
        )
    try:
        with Ledger(folder, clock) as ledger:
            ledger.verify()
            last = ledger.accounts.last_at
    except LedgerDamagedError as error:
        return str(error)
    if last > now:
        return f"the last entry is of {last}, the clock says {now}"
    raise ConfigurationError(
        "the ledger is sound, and a sound one cannot be overridden",
        hint="see what was spent: fedward-site ledger",
    )


def _new_chain(folder: LedgerFolder, opened: Opened, entry: Overridden) -> tuple[Path, Head]:
    path = folder.path / "entries.new.jsonl"
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # of an override that a crash cut short
    with ChainedLines(path) as lines:
        lines.append(plain_of(opened))
        lines.append(plain_of(entry))
        return path, Head(2, lines.head)


def _free_name(folder: Path) -> Path:
    number = 1
    while (path := folder / f"damaged-{number}.jsonl").exists():
        number += 1
    return path

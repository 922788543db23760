"""The entries of a ledger, and their one plain form.

Each is a frozen dataclass. Read back strictly: an unknown kind, a missing, unknown or mistyped key
is a damaged ledger, or one that a newer version wrote.
"""

import dataclasses
import functools
import json
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward_client.ledger.charges import Charges
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.utc_clock import moment_of
from fedward_client.noise_place import NoisePlace
from fedward_common.errors import LedgerDamagedError, PrivacyError
from fedward_common.privacy.disclosures import Disclosure, from_plain, to_plain

SCHEMA = "fedward-ledger/1"
_CHAIN_KEYS = frozenset({"index", "previous"})
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Opened:
    """The first entry.

    Args:
        at: When, in UTC.
        schema: `SCHEMA`.
        ledger: Random name, so that no two ledgers have one chain.
    """

    at: str
    schema: str
    ledger: str


@dataclass(frozen=True)
class Reserved:
    """A run was accepted: all that it may disclose counts from now on.

    Args:
        at: When, in UTC.
        run: The run.
        purpose: What the job is for, in its own words.
        cohort: The cohort's name at this site.
        patients: SHA-256 of the set of its training patients.
        num_patients: Their number.
        planned: What the whole run discloses of each of them.
        spare: What attempts beyond the plan may disclose in addition.
        epsilon_total: The site's cap when it was accepted.
        delta_total: The delta of that cap.
        gives_back: Whether what it does not begin is free again once it is released.
    """

    at: str
    run: str
    purpose: str
    cohort: str
    patients: str
    num_patients: int
    planned: Charges
    spare: Charges
    epsilon_total: float
    delta_total: float
    gives_back: bool


@dataclass(frozen=True)
class RoundBegun:
    """A round is about to train: it is spent, whatever becomes of it.

    Args:
        at: When, in UTC.
        run: The run.
        round: Its number, from 1.
        attempt: At this round, from 1.
        disclosure: What it discloses of each patient.
        noise_drawn_on: Where its noise is drawn; None where there is none, and in entries that are
            older than this key.
    """

    at: str
    run: str
    round: int
    attempt: int
    disclosure: Disclosure
    noise_drawn_on: NoisePlace | None = None


@dataclass(frozen=True)
class RoundCommitted:
    """A begun round's update is kept, and may leave."""

    at: str
    run: str
    round: int
    attempt: int


@dataclass(frozen=True)
class Evaluated:
    """Sums over patients left; `mode` says how they were protected, "exact" that they were not."""

    at: str
    run: str
    split: str
    mode: str
    patients: str
    num_patients: int


@dataclass(frozen=True)
class Released:
    """A run is over and begins nothing more."""

    at: str
    run: str


@dataclass(frozen=True)
class Overridden:
    """Two persons began a new ledger because the old one could not be believed.

    Args:
        at: When, in UTC.
        first: Who signed.
        second: Who else did.
        reason: Why, in their words.
        found: What was wrong with the old ledger.
        lost_sha256: Hash of the old file, which was put aside; "" if there was none.
        assumed: What every patient of the site is taken to have disclosed before.
        assumed_epsilon: The figure that the two persons gave for it; None if they gave none.
    """

    at: str
    first: str
    second: str
    reason: str
    found: str
    lost_sha256: str
    assumed: Charges
    assumed_epsilon: float | None


Entry = Opened | Reserved | RoundBegun | RoundCommitted | Evaluated | Released | Overridden

_KIND_OF: dict[type, str] = {
    Opened: "opened",
    Reserved: "reserved",
    RoundBegun: "round.begun",
    RoundCommitted: "round.committed",
    Evaluated: "evaluated",
    Released: "released",
    Overridden: "overridden",
}
_TYPE_OF = {kind: type_ for type_, kind in _KIND_OF.items()}


def plain_of(entry: Entry) -> dict[str, Any]:
    """Give an entry as JSON values."""
    values = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
    type_: type = type(entry)
    for name in _may_be_left_out(type_):
        if values[name] is None:
            del values[name]
    return {"kind": _KIND_OF[type_], **{k: _plain_value(v) for k, v in values.items()}}


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [to_plain(one) for one in value]
    return to_plain(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def entry_of(table: Mapping[str, Any], number: int) -> Entry:
    """Read the plain form back; the chain's own keys may stand in it.

    Args:
        table: JSON values.
        number: Of the line, from 1, for messages.

    Raises:
        LedgerDamagedError: It is no entry.
    """
    try:
        return _entry_of(table)
    except (ValueError, KeyError, TypeError, PrivacyError) as error:
        raise _no_entry(number) from error


def _entry_of(table: Mapping[str, Any]) -> Entry:
    values = {key: value for key, value in table.items() if key not in _CHAIN_KEYS}
    type_ = _TYPE_OF[values.pop("kind")]
    hints = _hints_of(type_)
    if not hints.keys() - _may_be_left_out(type_) <= values.keys() <= hints.keys():
        raise ValueError("other keys than those of the entry")
    read = {key: _value_of(hints[key], value) for key, value in values.items()}
    moment_of(read["at"])
    hashes = [read[key] for key in ("patients", "lost_sha256") if key in read]
    if not all(_SHA256.match(one) or (type_ is Overridden and not one) for one in hashes):
        raise ValueError("no hash where one belongs")
    return typing.cast(Entry, type_(**read))


@functools.cache
def _hints_of(type_: type) -> dict[str, Any]:
    return typing.get_type_hints(type_)


@functools.cache
def _may_be_left_out(type_: type) -> frozenset[str]:
    """Name the keys with a default: they came after others had been written without them."""
    fields = dataclasses.fields(type_)
    return frozenset(one.name for one in fields if one.default is not dataclasses.MISSING)


def _value_of(wanted: Any, value: Any) -> Any:
    if wanted is str:
        return _of_type(wanted, value)
    if wanted == NoisePlace | None:
        return _one_of(typing.get_args(NoisePlace), value)
    if wanted == Disclosure:
        return _disclosure_of(json.dumps(value))
    if wanted == Charges:
        return tuple(_disclosure_of(json.dumps(one)) for one in _of_type(list, value))
    if wanted is int and _of_type(int, value) < 0:
        raise ValueError("a count below 0")
    if wanted == float | None:
        return None if value is None else _finite(value)
    return _finite(value) if wanted is float else _of_type(wanted, value)


@functools.lru_cache(maxsize=1024)
def _disclosure_of(text: str) -> Disclosure:
    """Read a disclosure; most entries of a run have the same one."""
    return from_plain(json.loads(text))


def _of_type(wanted: type, value: Any) -> Any:
    if type(value) is not wanted:
        raise TypeError(f"{type(value).__name__} where {wanted.__name__} belongs")
    return value


def _one_of(names: tuple[str, ...], value: Any) -> Any:
    if value not in names:
        raise ValueError("another word than those that are known")
    return value


def _finite(value: Any) -> float:
    if not math.isfinite(_of_type(float, value)):
        raise ValueError("no finite number")
    return float(value)


def _no_entry(number: int) -> LedgerDamagedError:
    return ledger_damaged(
        f"line {number} of the ledger is no entry that this version of Fedward knows"
    )

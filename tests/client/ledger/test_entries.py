import dataclasses
import json
from typing import Any

import pytest

from fedward_client.ledger.entries import (
    SCHEMA,
    Entry,
    Evaluated,
    Opened,
    Overridden,
    Released,
    Reserved,
    RoundBegun,
    RoundCommitted,
    entry_of,
    plain_of,
)
from fedward_common.errors import LedgerDamagedError
from fedward_common.privacy.disclosures import Gaussian, JointSteps, SampledGaussian, Unbounded

AT = "2031-05-01T12:00:00Z"
SET = "ab" * 32
STEPS = SampledGaussian(1.0000001, 0.1, 3)
ENTRIES: tuple[Entry, ...] = (
    Opened(AT, SCHEMA, "00ff"),
    Reserved(AT, "r1", "kind", "chest", SET, 5, (STEPS, Gaussian(2.0, 4)), (), 10.0, 1e-5, True),
    Reserved(AT, "r2", "kind", "chest", SET, 5, (Unbounded("none"),), (STEPS,), 3.0, 1e-5, False),
    RoundBegun(AT, "r1", 1, 1, JointSteps(1.5, 0.2, 1, 1e-9)),
    RoundBegun(AT, "r1", 2, 1, STEPS, "cpu"),
    RoundBegun(AT, "r1", 3, 1, STEPS, "device"),
    RoundCommitted(AT, "r1", 1, 1),
    Evaluated(AT, "r1", "validation", "exact", SET, 5),
    Released(AT, "r1"),
    Overridden(AT, "one", "two", "why", "gone", "", (Unbounded("override"),), None),
    Overridden(AT, "one", "two", "why", "edited", SET, (Gaussian(1.0, 1),), 3.0),
)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: type(one).__name__)
def test_an_entry_comes_back_from_json_as_it_was(entry: Entry) -> None:
    table = json.loads(json.dumps(plain_of(entry)))
    assert entry_of({"index": 3, "previous": "x", **table}, 4) == entry


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: type(one).__name__)
def test_a_key_more_or_less_is_damage_and_its_line_is_named(entry: Entry) -> None:
    table = plain_of(entry)
    for key in table.keys() - {"noise_drawn_on"}:
        with pytest.raises(LedgerDamagedError, match="line 7 "):
            entry_of({k: v for k, v in table.items() if k != key}, 7)
    with pytest.raises(LedgerDamagedError):
        entry_of({**table, "refund": 1}, 7)


def test_a_round_that_was_written_before_places_of_noise_were_is_read_and_written_as_it_was() -> (
    None
):
    table = {k: v for k, v in plain_of(ENTRIES[4]).items() if k != "noise_drawn_on"}
    read = entry_of(table, 1)
    assert read == RoundBegun(AT, "r1", 2, 1, STEPS)
    assert plain_of(read) == table


WRONG: tuple[Any, ...] = (None, True, -1, 1.5, "x", [], {}, float("nan"), [{"kind": "other"}])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: type(one).__name__)
def test_a_value_of_another_type_is_damage(entry: Entry) -> None:
    table = plain_of(entry)
    fields = {field.name: field for field in dataclasses.fields(entry)}
    for key in fields:
        for value in WRONG:
            try:
                read = entry_of({**table, key: value}, 1)
            except LedgerDamagedError:
                continue
            assert type(plain_of(read)[key]) is type(value)
            assert key != "at"
            assert value != -1


@pytest.mark.parametrize("kind", ["", "refunded", None, ["opened"]])
def test_an_unknown_kind_is_damage(kind: Any) -> None:
    with pytest.raises(LedgerDamagedError, match="this version"):
        entry_of({**plain_of(ENTRIES[0]), "kind": kind}, 1)

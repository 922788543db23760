"""A coordinator that signs what it likes: a job that is none is refused by its site, by a code."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.tiny_federation import TinyFederation

from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_server.reports.participation import code_meaning

Table = dict[str, Any]
_WRONG: dict[type, tuple[Any, ...]] = {
    bool: (0, 1, "true", math.nan, [], {}),
    int: (True, 1.5, math.nan, math.inf, "1", 2**63, [], {}, b"1"),
    float: (False, math.nan, math.inf, -math.inf, "0.5", [], {}, b"1"),
    str: (1, True, math.nan, [], {}, b"text", ["text"]),
    list: (1, True, "text", {}, [{}], [[[]]], [math.nan]),
    dict: (1, True, "text", [], [{}], math.nan),
}


@pytest.fixture
def coordinator(tiny: TinyFederation, tmp_path: Path) -> Coordinator:
    setup = tiny.set_up(tmp_path / "run")
    return Coordinator(tiny, setup, setup.key)


def encoded(job: Table) -> bytes:
    """Encode what our own encoder refuses to: NaN and infinity."""
    content: bytes = cbor2.dumps(job, canonical=True)
    return content


def places_in(table: Table, *above: str) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places_in(value, *above, key)


def with_value(table: Table, place: tuple[str, ...], value: Any) -> Table:
    changed = copy.deepcopy(table)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def value_at(table: Table, place: tuple[str, ...]) -> Any:
    for key in place:
        table = table[key]
    return table


class Proposer:
    """Proposes the run of a coordinator with another job in its manifest."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._manifest: Table = decode_canonically(coordinator.setup.manifest_bytes)
        self.job: Table = decode_canonically(self._manifest["job_table"])
        self.home = coordinator.federation.homes[SITE]

    def propose_bytes(self, job_table: bytes) -> Answered:
        manifest = encode_canonically({**self._manifest, "job_table": job_table})
        query = messages.ManifestQuery(manifest, self._coordinator.setup.roster_bytes)
        subject = self._coordinator.subject(0, manifest_sha256="")
        return self._coordinator.ask("query.manifest", query, subject=subject)

    def require_refused(self, job_table: bytes, fault: object) -> None:
        answer = self.propose_bytes(job_table)
        assert isinstance(answer.message, messages.Refusal), (fault, answer)
        assert answer.message.code != "INTERNAL_ERROR", fault
        assert code_meaning(answer.message.code), answer.message.code
        accepted = self.home / "runs" / self._manifest["run"] / "manifest.cbor"
        assert not accepted.exists(), fault


@pytest.fixture
def proposer(coordinator: Coordinator) -> Proposer:
    return Proposer(coordinator)


def test_the_job_as_it_was_signed_is_accepted(proposer: Proposer) -> None:
    answer = proposer.propose_bytes(encode_canonically(proposer.job))
    assert isinstance(answer.message, messages.ManifestReply)


def test_no_key_of_a_job_takes_a_value_of_another_type_or_that_is_not_finite(
    proposer: Proposer,
) -> None:
    num_tried = 0
    for place in places_in(proposer.job):
        for wrong in _WRONG.get(type(value_at(proposer.job, place)), ()):
            job = with_value(proposer.job, place, wrong)
            if job != proposer.job:
                proposer.require_refused(encoded(job), (place, wrong))
                num_tried += 1
    assert num_tried > 300


# Without differential privacy nothing reads these two; a mean of images may be any number.
_ANY_NUMBER = {
    ("privacy", "clipping_norm"),
    ("privacy", "augmentation_multiplicity"),
    ("data", "mean"),
}
_ANY_LARGE_NUMBER = _ANY_NUMBER | {("data", "std")}


def test_no_number_of_a_job_may_be_negative_or_without_bound(proposer: Proposer) -> None:
    num_tried = 0
    for place in places_in(proposer.job):
        kind = type(value_at(proposer.job, place))
        if kind in (int, float):
            numbers = [] if place in _ANY_NUMBER else [kind(-1), kind(-(10**18))]
            numbers += [] if place in _ANY_LARGE_NUMBER else [kind(10**18)]
            for number in numbers:
                job = with_value(proposer.job, place, number)
                proposer.require_refused(encoded(job), (place, number))
                num_tried += 1
    assert num_tried > 60


def test_a_job_with_a_key_more_is_refused_wherever_it_stands(proposer: Proposer) -> None:
    sections = [p for p in places_in(proposer.job) if isinstance(value_at(proposer.job, p), dict)]
    for section in [(), *sections]:
        job = with_value(proposer.job, (*section, "unheard_of"), 1)
        if section != ("task", "labels"):
            proposer.require_refused(encode_canonically(job), section)


@pytest.mark.parametrize(
    "table",
    [b"", b"\xa0", b"\xff", b"\x80", b"\xf6", bytes(4096), b"\xa1aa\x01", b"[job]\nrounds = 1\n"],
    ids=ascii,
)
def test_bytes_that_are_no_job_are_refused(proposer: Proposer, table: bytes) -> None:
    proposer.require_refused(table, table)


def test_a_job_of_10_mb_or_1000_levels_is_refused(proposer: Proposer) -> None:
    huge = with_value(proposer.job, ("job", "name"), "x" * 10_000_000)
    proposer.require_refused(encode_canonically(huge), "10 MB")
    proposer.require_refused(b"\x81" * 1000 + b"\x01", "1,000 levels")


@pytest.mark.parametrize("name", ["../../run", "/etc", "a/b", "..", "", "a\0b"])
def test_a_run_whose_name_is_a_path_makes_no_folder(coordinator: Coordinator, name: str) -> None:
    before = sorted(coordinator.federation.homes[SITE].rglob("*"))
    setup = coordinator.setup
    manifest = encode_canonically({**decode_canonically(setup.manifest_bytes), "run": name})
    query = messages.ManifestQuery(manifest, setup.roster_bytes)
    subject = coordinator.subject(0, manifest_sha256="", run=name)
    answer = coordinator.ask("query.manifest", query, subject=subject)
    assert answer.error or isinstance(answer.message, messages.Refusal)
    after = [p for p in coordinator.federation.homes[SITE].rglob("*") if p.name != "site.log"]
    assert sorted(after) == [p for p in before if p.name != "site.log"]

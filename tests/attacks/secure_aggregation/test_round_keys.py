"""Round keys that would make a shared secret known to everybody, and messages out of any form."""

import dataclasses
from functools import partial
from typing import Any

import cbor2
import pytest
from tests.attacks.secure_aggregation.attacker import changed, finish, refuses
from tests.attacks.secure_aggregation.shown_directories import entries_of, shown
from tests.secagg_federation import Federation, code_of, make_federation
from tests.secagg_steps import STEPS, request_of, up_to

from fedward_client.secagg_member import Stage
from fedward_common.crypto.key_agreement import HybridPublicKey
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import RoundKeys, decode
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_server import secagg_coordinator as coordinator

_P = 2**255 - 19
# Of the eight points of small order, the first coordinates of one in order 1 or 2, two of order 8,
# and one of order 4 on the curve and on its twist each; as numbers that are reduced and not.
SMALL_ORDER = {
    "0": 0,
    "1": 1,
    "order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "order 8 again": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    "p - 1": _P - 1,
    "p": _P,
    "p + 1": _P + 1,
}
POINTS = {
    f"{name}{' and bit 255' if bit else ''}": (point | bit << 255).to_bytes(32, "little")
    for name, point in SMALL_ORDER.items()
    for bit in (0, 1)
}
LIAR = 6


@pytest.mark.parametrize("field", ["seal_key", "mask_key"])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_a_point_of_small_order_is_no_round_key(
    seven: Federation, field: str, point: bytes
) -> None:
    """Whatever the other's private key is, what both agree on would be zeros."""
    victim, entries = seven.sites[0], entries_of(seven)
    own = getattr(keys_of(seven), field)
    entries[LIAR] = changed(
        entries[LIAR], RoundKeys, seven.sites[LIAR], **{field: point + own[32:]}
    )
    refuses(seven, victim, shown(seven, victim, entries), "UNVERIFIED_MESSAGE")


def keys_of(federation: Federation) -> RoundKeys:
    return decode(RoundKeys, entries_of(federation)[LIAR].body)


def with_coefficient(mlkem768: bytes, place: int, value: int) -> bytes:
    """An encapsulation key with one of its 768 numbers of 12 bits set (FIPS 203, ByteEncode12)."""
    packed = bytearray(mlkem768)
    start = place // 2 * 3
    pair = int.from_bytes(packed[start : start + 3], "little")
    shift = 12 * (place % 2)
    pair = pair & ~(0xFFF << shift) | value << shift
    packed[start : start + 3] = pair.to_bytes(3, "little")
    return bytes(packed)


@pytest.mark.parametrize("value", [3329, 4095])
@pytest.mark.parametrize("place", [0, 1, 400, 767])
@pytest.mark.parametrize("field", ["seal_key", "mask_key"])
def test_a_key_of_ml_kem_that_is_not_reduced_is_refused(
    seven: Federation, field: str, place: int, value: int
) -> None:
    """The modulus check of FIPS 203 section 7.2: two encodings of one key have other hashes."""
    victim, entries = seven.sites[0], entries_of(seven)
    own = HybridPublicKey.from_bytes(getattr(keys_of(seven), field))
    unreduced = own.x25519 + with_coefficient(own.mlkem768, place, value)
    entries[LIAR] = changed(entries[LIAR], RoundKeys, seven.sites[LIAR], **{field: unreduced})
    refuses(seven, victim, shown(seven, victim, entries), "MALFORMED_MESSAGE")
    finish(seven)


def test_the_largest_number_that_is_reduced_is_taken(seven: Federation) -> None:
    """So that the keys above are refused for this alone."""
    victim, entries = seven.sites[0], entries_of(seven)
    own = HybridPublicKey.from_bytes(keys_of(seven).mask_key)
    largest = own.x25519 + with_coefficient(own.mlkem768, 400, 3328)
    entries[LIAR] = changed(entries[LIAR], RoundKeys, seven.sites[LIAR], mask_key=largest)
    assert code_of(shown(seven, victim, entries)) == ""


BEFORE = dict(zip(STEPS, (Stage.READY, Stage.SHARED, Stage.MASKED, Stage.CONFIRMED), strict=True))


def asked(federation: Federation, step: str, request: bytes) -> partial[Any]:
    one = {
        "share": federation.share_one,
        "mask": federation.mask_one,
        "confirm": federation.confirm_one,
        "unmask": federation.unmask_one,
    }
    return partial(one[step], federation.sites[0], request)


@pytest.fixture(scope="module", params=STEPS)
def step(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reached(step: str) -> Federation:
    return up_to(make_federation(4, num_words=2, num_lane=1), BEFORE[step])


@pytest.fixture
def federation(reached: Federation) -> Federation:
    return reached.fork()


def is_malformed(federation: Federation, step: str, request: bytes) -> None:
    refuses(federation, federation.sites[0], asked(federation, step, request), "MALFORMED_MESSAGE")


def test_a_request_in_another_encoding_is_refused(federation: Federation, step: str) -> None:
    """What is hashed and signed must have one form only."""
    good = request_of(federation, step, federation.sites[0])
    table = decode_canonically(good, max_bytes=len(good))
    first = next(iter(table))
    pairs = [cbor2.dumps(key) + cbor2.dumps(value, canonical=True) for key, value in table.items()]
    others = {
        "goes on": good + b"\x00",
        "is cut": good[:-1],
        "is empty": b"",
        "is text": b"share",
        "in another order": bytes([0xA0 + len(pairs)]) + b"".join(reversed(pairs))
        if len(pairs) > 1
        else b"\xb8\x01" + pairs[0],
        "without an end": b"\xbf" + b"".join(pairs) + b"\xff",
        "one key twice": bytes([0xA1 + len(pairs)]) + pairs[0] + b"".join(pairs),
        "tagged": b"\xd9\xd9\xf7" + good,
        "a long head": good.replace(bytes([0xA0 + len(pairs)]), bytes([0xB8, len(pairs)]), 1),
        "a list": encode_canonically([table]),
        "a field more": encode_canonically({**table, "zzz": 0}),
        "a field less": encode_canonically({k: v for k, v in table.items() if k != first}),
        "another name": encode_canonically({"x" + k: v for k, v in table.items()}),
    }
    for request in others.values():
        is_malformed(federation, step, request)
    assert code_of(asked(federation, step, good)) == ""


def test_a_request_with_values_of_other_kinds_is_refused(federation: Federation, step: str) -> None:
    good = request_of(federation, step, federation.sites[0])
    table = decode_canonically(good, max_bytes=len(good))
    wrong: list[Any] = [None, -1, 2**63, 1.5, True, "text", b"bytes", [0], [None], {"a": 1}]
    for name, value in table.items():
        for other in wrong:
            if isinstance(value, bytes) and isinstance(other, bytes):
                continue  # of the right kind, and then of the wrong length or directory
            is_malformed(federation, step, encode_canonically({**table, name: other}))


def test_a_request_beyond_every_size_is_refused_unread(federation: Federation, step: str) -> None:
    is_malformed(federation, step, bytes(17 << 20))
    deep = encode_canonically([[[[[[[[[[[0]]]]]]]]]]])
    is_malformed(federation, step, deep)


@pytest.mark.parametrize(
    "name", ["", "SITE-001", "site-001\n", "../site-001", "site-001 ", "é", "x" * 2000]
)
def test_a_list_with_a_name_that_no_site_has_is_refused(name: str) -> None:
    federation = up_to(make_federation(4, num_words=2, num_lane=1), Stage.MASKED)
    site = federation.sites[0]
    lists = decode_canonically(coordinator.confirm_request(federation.attempt))
    for field in ("survivors", "dropouts"):
        names = sorted([*lists[field], name])
        request = encode_canonically({**lists, field: names})
        refuses(federation, site, partial(federation.confirm_one, site, request), codes.NOT_A_CHAIN)


def test_a_suite_is_not_negotiated_down() -> None:
    federation = make_federation(4)
    for suite in ("S0", "S2", "s1", "S1 "):
        federation.binding = dataclasses.replace(federation.binding, suite=suite)
        assert code_of(partial(federation.begin_one, SiteId("site-000"))) == codes.SUITE

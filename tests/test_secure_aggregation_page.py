"""The numbers, codes and test names in the pages on secure aggregation are those of the code.

Sizes of messages depend on the number of sites and the length of their names alone, so they are
taken from messages of zeros; one test compares these with a real round.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.secagg_federation import Federation, make_federation, site_names

from fedward_common.crypto.key_agreement import (
    CIPHERTEXT_BYTES,
    PRIVATE_BYTES,
    PUBLIC_BYTES,
    SHARED_BYTES,
)
from fedward_common.crypto.sealing import TAG_BYTES
from fedward_common.crypto.shamir import SHARE_BYTES
from fedward_common.secagg import refusal_codes
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.secagg.messages import (
    SEALED_SHARES_BYTES,
    SELF_MASK,
    SHA256_BYTES,
    SIGNATURE_BYTES,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    Message,
    RevealedShare,
    RoundKeys,
    ShareAnnouncement,
    ShareAnswer,
    SharePacket,
    Sharer,
    ShareRequest,
    Signed,
    UnmaskAnswer,
    UnmaskRequest,
    encode,
)
from fedward_common.secagg.thresholds import (
    abandonments_needed,
    fewest_honest_survivors,
    largest_coalition,
    sites_one_organisation_may_hold,
    threshold_of,
)
from fedward_common.wire.canonical_cbor import encode_canonically
from fedward_server import secagg_coordinator as coordinator

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "SECURE_AGGREGATION.md"
_THREATS = _ROOT / "docs" / "THREAT_MODEL.md"
_DIRECTORIES = (3, 10, 50, 100)
_MEGABYTE = 1e6


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    text = _PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines, heading
    return [
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[0].splitlines()
    ][2:]


def _signed(body: Message) -> Signed:
    return Signed(encode(body), bytes(SIGNATURE_BYTES))


class _Zeros:
    """A round's messages with zeros for whatever is random."""

    def __init__(self, num_sites: int) -> None:
        self.sites = site_names(num_sites)
        binding = make_federation(2).binding
        keys = RoundKeys(binding, self.sites[0], bytes(PUBLIC_BYTES), bytes(PUBLIC_BYTES))
        self.keys = _signed(keys)

    def packet(self, sender: int, recipient: int) -> bytes:
        if sender == recipient:
            return b""
        mask_ciphertext = bytes(CIPHERTEXT_BYTES) if sender < recipient else b""
        return encode(
            SharePacket(
                self.sites[sender],
                self.sites[recipient],
                bytes(CIPHERTEXT_BYTES),
                bytes(SEALED_SHARES_BYTES),
                mask_ciphertext,
            )
        )

    def announcement(self, sender: int) -> Signed:
        digest = bytes(SHA256_BYTES)
        hashes = tuple(b"" if k == sender else digest for k in range(len(self.sites)))
        return _signed(
            ShareAnnouncement(self.sites[sender], digest, digest, digest, digest, hashes)
        )

    def blob_bytes(self, sender: int) -> int:
        later = {str(site): bytes(SHARED_BYTES) for site in self.sites[sender + 1 :]}
        plain = {"mask_private": bytes(PRIVATE_BYTES), "encapsulated": later}
        return len(encode_canonically(plain)) + TAG_BYTES

    def share_answer(self, sender: int) -> bytes:
        packets = tuple(self.packet(sender, k) for k in range(len(self.sites)))
        blob = bytes(self.blob_bytes(sender))
        return encode(ShareAnswer(self.announcement(sender), packets, blob))

    def mask_request(self, recipient: int) -> bytes:
        senders = range(len(self.sites))
        return encode(
            MaskRequest(
                tuple(Sharer(self.announcement(k), self.packet(k, recipient)) for k in senders)
            )
        )

    def sizes(self) -> list[int]:
        """In the order of the page: the largest of each message, what goes up first."""
        digest, sites, last = bytes(SHA256_BYTES), tuple(self.sites), len(self.sites) - 1
        confirmation = Confirmation(sites[0], bytes(SIGNATURE_BYTES))
        confirmations = (confirmation,) * threshold_of(len(sites))
        shares = tuple(RevealedShare(site, SELF_MASK, bytes(SHARE_BYTES)) for site in sites)
        messages: list[bytes] = [
            encode(self.keys),
            self.share_answer(0),
            encode(confirmation),
            encode(_signed(UnmaskAnswer(sites[0], digest, shares))),
            encode(ShareRequest((self.keys,) * len(sites))),
            self.mask_request(last),
            encode(ConfirmRequest(digest, sites, ())),
            encode(UnmaskRequest(digest, sites, (), confirmations)),
        ]
        return [len(message) for message in messages]


def _sizes_of_a_round(federation: Federation) -> list[int]:
    """The same of a real round."""
    sites = federation.sites
    federation.begin()
    share_request = coordinator.share_request(federation.attempt)
    federation.share()
    mask_requests = coordinator.mask_requests(federation.attempt)
    federation.mask()
    confirm_request = coordinator.confirm_request(federation.attempt)
    federation.confirm()
    unmask_request = coordinator.unmask_request(federation.attempt)
    messages = [
        federation.keys[sites[0]],
        federation.share_answers[sites[0]],
        federation.confirm_one(sites[0], confirm_request),
        federation.unmask_one(sites[0], unmask_request),
        share_request,
        mask_requests[sites[-1]],
        confirm_request,
        unmask_request,
    ]
    return [len(message) for message in messages]


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_messages_of_zeros_are_as_long_as_those_of_a_real_round() -> None:
    assert _Zeros(10).sizes() == _sizes_of_a_round(make_federation(10))


def test_the_page_has_the_numbers_of_each_directory() -> None:
    expected = [
        [
            n,
            threshold_of(n),
            n - threshold_of(n),
            largest_coalition(n),
            abandonments_needed(n),
            fewest_honest_survivors(n),
            sites_one_organisation_may_hold(n),
        ]
        for n in _DIRECTORIES
    ]
    assert [[_number(cell) for cell in row] for row in _rows("### The numbers")] == expected


def test_the_page_has_the_length_of_every_message() -> None:
    rows = [[_number(cell) for cell in row] for row in _rows("### Sizes")]
    assert rows == [[n, *_Zeros(n).sizes()] for n in _DIRECTORIES]


def _megabytes(num_sites: int, num_parameters: int, bits: int) -> float:
    """What one site sends in a round at most."""
    up = sum(_Zeros(num_sites).sizes()[:4])
    return (up + bits // 8 * num_parameters) / _MEGABYTE


def test_the_page_has_what_a_site_sends_and_receives_in_a_round() -> None:
    for row in _rows("### Bytes of a round"):
        num_sites = int(row[0])
        down = sum(_Zeros(num_sites).sizes()[4:])
        expected: list[float] = []
        for num_parameters in (100_000, 1_000_000, 31_000_000):
            expected += [_megabytes(num_sites, num_parameters, bits) for bits in (32, 24)]
            expected.append((down + 4 * num_parameters) / _MEGABYTE)
        assert [_number(cell) for cell in row[1:]] == [round(value, 2) for value in expected]


def test_the_page_has_the_fraction_bits_of_each_directory() -> None:
    ranges = (1.0, 4.0, 64.0)
    for row in _rows("### Fraction bits"):
        expected = []
        for value_range in ranges:
            section = Section("update", 1, value_range)
            for bits in (32, 24):
                codec = VectorCodec(bits, int(row[0]), (section,))
                expected.append(codec.fraction_bits(section))
        assert [_number(cell) for cell in row[1:]] == expected


def test_every_refusal_code_is_explained() -> None:
    codes = {
        value for name, value in vars(refusal_codes).items() if name.isupper() and name[0] != "_"
    }
    explained = {cell.strip("`") for row in _rows("## Every code") for cell in row[:1]}
    assert codes - explained == set()


def _names_of_tests() -> set[str]:
    files: Sequence[Path] = sorted((_ROOT / "tests").glob("**/test_*.py"))
    return {
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


@pytest.mark.parametrize("page", [_PAGE, _THREATS], ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    assert named, page
    assert named - _names_of_tests() == set()

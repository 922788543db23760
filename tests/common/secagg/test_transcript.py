"""Whatever the sites must agree on changes the hash that they sign."""

from fedward_common.secagg.messages import Signed
from fedward_common.secagg.transcript import (
    hash_of_directory,
    hash_of_sharers,
    hash_of_transcript,
)

FIRST, SECOND = Signed(b"first", bytes(64)), Signed(b"second", bytes(64))
RESIGNED = Signed(b"first", b"\1" * 64)


def test_entries_their_order_and_their_signatures_change_the_hash_of_a_list() -> None:
    lists = [[FIRST, SECOND], [SECOND, FIRST], [FIRST], [RESIGNED, SECOND], []]
    for hash_of in (hash_of_directory, hash_of_sharers):
        assert len({hash_of(items) for items in lists}) == len(lists)


def test_every_part_of_a_transcript_changes_its_hash() -> None:
    zero, one = bytes(32), b"\1" * 32
    hashes = [
        hash_of_transcript(zero, zero, ["a", "b"], ["c"]),
        hash_of_transcript(one, zero, ["a", "b"], ["c"]),
        hash_of_transcript(zero, one, ["a", "b"], ["c"]),
        hash_of_transcript(zero, zero, ["a"], ["b", "c"]),
        hash_of_transcript(zero, zero, ["a", "b", "c"], []),
        hash_of_transcript(zero, zero, ["ab"], ["c"]),
    ]
    assert len(set(hashes)) == len(hashes)

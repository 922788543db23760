"""What a site's disk holds of a round before anybody hears of it, and after it is over."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.secagg_federation import make_federation

from fedward_client import secagg_member as machine
from fedward_client.daemon import round_store
from fedward_client.daemon.round_store import RoundStore, close_rounds
from fedward_client.secagg.member_state import MemberState, Stage
from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import AggregationRefusedError, CorruptFileError
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.secagg.lane import LaneLayout
from fedward_common.secagg.layout import ContributionLayout


def store_of(run_folder: Path, number: int, *, durable: bool = True) -> RoundStore:
    return RoundStore.of(run_folder, "train", number, durable=durable)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose names were made durable, in order."""
    folders: list[Path] = []
    monkeypatch.setattr(round_store, "sync_folder", folders.append)
    return folders


@pytest.mark.parametrize("number", [1, 2])
def test_a_power_cut_does_not_undo_that_a_round_began(
    tmp_path: Path, synced: list[Path], number: int
) -> None:
    """Forgotten, it would be begun again, with other keys and other lists for one attempt."""
    for earlier in range(1, number):
        store_of(tmp_path, earlier).forget_lower_rounds()
    synced.clear()
    store_of(tmp_path, number).forget_lower_rounds()
    assert {tmp_path, tmp_path / "secure"} <= set(synced)


def test_a_simulated_round_waits_for_no_disk(tmp_path: Path, synced: list[Path]) -> None:
    store_of(tmp_path, 1, durable=False).forget_lower_rounds()
    store_of(tmp_path, 2, durable=False).forget_lower_rounds()
    assert synced == []


def test_a_round_that_began_forgets_lower_ones_and_forbids_them(tmp_path: Path) -> None:
    first, second = store_of(tmp_path, 1), store_of(tmp_path, 2)
    first.forget_lower_rounds()
    first.vault.write("contribution.sealed", b"secret")
    second.forget_lower_rounds()
    second.forget_lower_rounds()
    assert [folder.name for folder in (tmp_path / "secure").iterdir()] == ["train-00000002"]
    with pytest.raises(AggregationRefusedError) as refusal:
        first.forget_lower_rounds()
    assert refusal.value.code == "SECAGG_ROUND_OLD"


def test_a_round_that_was_closed_is_over_and_keeps_no_secret(tmp_path: Path) -> None:
    store = store_of(tmp_path, 1)
    store.forget_lower_rounds()
    store.vault.write("contribution.sealed", b"secret")
    before = store.is_over
    close_rounds(tmp_path, durable=True)
    assert (before, store.is_over) == (False, True)
    assert [path.name for path in store.vault.folder.iterdir()] == ["over"]


# -- the state that is remembered ------------------------------------------------------------------


@pytest.fixture
def states() -> tuple[MemberState, MemberState]:
    """A site that is ready, and the same after it gave the attempt up."""
    federation = make_federation(3)
    federation.begin()
    site = federation.sites[0]
    ready = federation.states[site]
    abandoned, _ = machine.abandon(ready, federation.rules[site])
    return ready, abandoned


@pytest.fixture
def begun(tmp_path: Path) -> RoundStore:
    store = store_of(tmp_path, 1, durable=False)
    store.forget_lower_rounds()
    return store


def test_a_state_that_was_written_is_not_read_again(
    begun: RoundStore, states: tuple[MemberState, MemberState], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.keep_state(states[0])
    monkeypatch.setattr(MemberState, "from_secret", None)
    assert begun.state() is states[0]


def test_what_another_process_wrote_is_read(
    tmp_path: Path, begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_state(states[0])
    other = store_of(tmp_path, 1, durable=False)
    assert other.state() == states[0]
    other.keep_state(states[1])
    assert begun.state() == states[1]
    assert other.state() == states[1]


@pytest.mark.parametrize("gone", ["round.key", "member.sealed"])
def test_what_another_process_destroyed_is_not_remembered(
    begun: RoundStore, states: tuple[MemberState, MemberState], gone: str
) -> None:
    begun.keep_state(states[0])
    (begun.vault.folder / gone).unlink()
    assert begun.state() is None


def test_a_round_that_another_process_unmasked_is_over_here(
    tmp_path: Path, begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_state(states[0])
    over = unmasked(states[0])
    store_of(tmp_path, 1, durable=False).keep_state(over)
    assert begun.state() == over
    assert [path.name for path in begun.vault.folder.iterdir()] == ["answers.cbor"]


def unmasked(state: MemberState) -> MemberState:
    return dataclasses.replace(state, stage=Stage.UNMASKED, secrets=None)


def test_the_same_state_again_writes_nothing(
    tmp_path: Path, begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    """Whoever repeats one request does not fill a hospital's disk."""
    begun.keep_state(states[0])
    size = (begun.vault.folder / "member.sealed").stat().st_size
    for store in (begun, store_of(tmp_path, 1, durable=False)):
        known = store.state()
        assert known is not None
        store.keep_state(known)
    assert (begun.vault.folder / "member.sealed").stat().st_size == size


def test_a_state_that_could_not_be_written_is_not_remembered(
    begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_state(states[0])
    (begun.vault.folder / "round.key").write_bytes(b"damaged")
    with pytest.raises(CorruptFileError):
        begun.keep_state(states[1])
    with pytest.raises(CorruptFileError):
        begun.state()


def test_secrets_are_not_remembered_once_they_are_destroyed(
    begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_state(states[0])
    begun.keep_state(unmasked(states[0]))
    assert begun._known is None
    assert begun.vault._key is None


def test_the_answers_of_a_simulated_round_are_their_owners_alone(
    begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_state(states[0])
    begun.keep_state(unmasked(states[0]))
    assert (begun.vault.folder / "answers.cbor").stat().st_mode & 0o077 == 0


# -- the contribution that is at hand --------------------------------------------------------------

LAYOUT = ContributionLayout(VectorCodec(32, 3, (Section("update", 5, 4.0),)), LaneLayout((), 3))


def a_contribution() -> tuple[Words, NDArray[np.uint64]]:
    return np.arange(5, dtype=np.uint32), np.arange(LAYOUT.lane.length, dtype=np.uint64)


def kept_in(store: RoundStore, state: MemberState) -> tuple[list[int], list[int]] | None:
    kept = store.contribution(LAYOUT, state.binding)
    return None if kept is None else (kept[0].tolist(), kept[1].tolist())


def test_a_contribution_that_was_masked_in_place_is_read_again_as_it_was(
    begun: RoundStore, states: tuple[MemberState, MemberState], monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = states[0].binding
    begun.keep_contribution(LAYOUT, binding, *a_contribution())
    with monkeypatch.context() as patched:
        patched.setattr(type(begun.vault), "read_into", None)  # it is at hand
        first = begun.contribution(LAYOUT, binding)
    assert first is not None
    first[0][:], first[1][:] = 7, 7
    words, lane = a_contribution()
    assert kept_in(begun, states[0]) == (words.tolist(), lane.tolist())


@pytest.mark.parametrize("gone", ["round.key", "contribution.sealed"])
def test_a_contribution_that_another_process_destroyed_is_not_at_hand(
    begun: RoundStore, states: tuple[MemberState, MemberState], gone: str
) -> None:
    begun.keep_contribution(LAYOUT, states[0].binding, *a_contribution())
    (begun.vault.folder / gone).unlink()
    assert kept_in(begun, states[0]) is None


def test_a_contribution_that_another_process_replaced_is_read(
    tmp_path: Path, begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    binding = states[0].binding
    begun.keep_contribution(LAYOUT, binding, *a_contribution())
    words, lane = a_contribution()
    store_of(tmp_path, 1, durable=False).keep_contribution(LAYOUT, binding, words + 1, lane)
    assert kept_in(begun, states[0]) == ((words + 1).tolist(), lane.tolist())


def test_a_contribution_to_other_weights_is_not_given(
    begun: RoundStore, states: tuple[MemberState, MemberState]
) -> None:
    begun.keep_contribution(LAYOUT, states[0].binding, *a_contribution())
    other = dataclasses.replace(states[0].binding, weights_sha256="0" * 64)
    assert begun.contribution(LAYOUT, other) is None


def test_no_contribution_is_at_hand_once_it_is_destroyed_or_where_it_is_large(
    begun: RoundStore,
    states: tuple[MemberState, MemberState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun.keep_contribution(LAYOUT, states[0].binding, *a_contribution())
    begun.keep_state(unmasked(states[0]))
    assert begun._at_hand is None
    monkeypatch.setattr(round_store, "_MAX_BYTES_AT_HAND", 8)
    begun.keep_contribution(LAYOUT, states[0].binding, *a_contribution())
    assert begun._at_hand is None

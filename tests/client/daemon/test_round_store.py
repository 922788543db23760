"""What a site's disk holds of a round before anybody hears of it, and after it is over."""

from pathlib import Path

import pytest

from fedward_client.daemon import round_store
from fedward_client.daemon.round_store import RoundStore, close_rounds
from fedward_common.errors import AggregationRefusedError


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

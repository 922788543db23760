"""How often this site's part of a round left."""

from pathlib import Path

import pytest

from fedward_client.jobs.contributions import ContributionCount, Contributions
from fedward_client.jobs.egress_record import Departure, note_departure
from fedward_client.site_home import SiteHome


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return SiteHome(tmp_path)


def leaves(home: SiteHome, kind: str, *arrays: str, at: float = 1.0, run: str = "a") -> None:
    sizes = dict.fromkeys(arrays, 8)
    note_departure(home, Departure(run, kind, 1, "", 10, sizes), now_seconds=at)


def test_updates_and_masked_vectors_are_counted_and_nothing_else(home: SiteHome) -> None:
    count = ContributionCount(home)
    assert count.so_far() == Contributions(0, 0, None)
    leaves(home, "manifest.reply")
    leaves(home, "secure.ready")
    leaves(home, "secure.step-reply")
    leaves(home, "refusal")
    assert count.so_far() == Contributions(0, 0, None)
    leaves(home, "train.reply", "update", at=5)
    leaves(home, "secure.step-reply", "masked", "lane", at=9, run="b")
    leaves(home, "train.reply", "update", at=7)
    assert count.so_far() == Contributions(2, 1, 9)
    assert count.so_far() == Contributions(2, 1, 9)


def test_a_line_is_counted_once_it_is_whole_and_one_that_was_cut_is_passed_over(
    home: SiteHome,
) -> None:
    count = ContributionCount(home)
    leaves(home, "train.reply")
    file = home.folder / "egress" / "a.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert count.so_far().num_updates == 0
    file.write_bytes(whole)
    assert count.so_far().num_updates == 1
    with file.open("ab") as added:
        added.write(b'\n{"kind": "train.re')
    leaves(home, "train.reply")
    assert count.so_far().num_updates == 2

"""Every signed answer is listed before it leaves, with its kind and its sizes."""

from pathlib import Path

import pytest
from tests.client.jobs.asking_coordinator import NOON, asking

from fedward_client.jobs.egress_record import Departure, egress_of, note_departure
from fedward_client.site_home import SiteHome
from fedward_common.errors import DiskFullError
from fedward_common.wire import messages


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return SiteHome(tmp_path)


def departure(run: str = "run1", kind: str = "train.reply", code: str = "") -> Departure:
    arrays = {} if code else {"update": 400}
    return Departure(run, kind, 1, code, 100, arrays)


def test_bytes_are_added_up_by_run_kind_and_part(home: SiteHome) -> None:
    for run in ("run1", "run1", "run2"):
        note_departure(home, departure(run), now_seconds=NOON)
    note_departure(home, departure(kind="refusal", code="SITE_PAUSED"), now_seconds=NOON)
    lines, num_unreadable = egress_of(home)
    found = [(o.run, o.kind, o.part, o.count, o.num_bytes) for o in lines]
    assert found == [
        ("run1", "refusal SITE_PAUSED", "message", 1, 100),
        ("run1", "train.reply", "message", 2, 200),
        ("run1", "train.reply", "update", 2, 800),
        ("run2", "train.reply", "message", 1, 100),
        ("run2", "train.reply", "update", 1, 400),
    ]
    assert num_unreadable == 0
    assert {line.run for line in egress_of(home, "run2")[0]} == {"run2"}


def test_a_line_that_was_cut_short_is_counted_and_spoils_no_other(home: SiteHome) -> None:
    note_departure(home, departure(), now_seconds=NOON)
    path = home.folder / "egress" / "run1.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    note_departure(home, departure(), now_seconds=NOON)
    lines, num_unreadable = egress_of(home)
    assert [line.count for line in lines] == [1, 1]
    assert num_unreadable == 1


def test_a_run_that_is_no_plain_name_makes_no_path(home: SiteHome) -> None:
    note_departure(home, departure("../../x"), now_seconds=NOON)
    assert [file.name for file in (home.folder / "egress").iterdir()] == ["no-run.jsonl"]


def test_the_record_is_for_its_owner_alone(home: SiteHome) -> None:
    note_departure(home, departure(), now_seconds=NOON)
    assert (home.folder / "egress").stat().st_mode & 0o777 == 0o700
    assert (home.folder / "egress" / "run1.jsonl").stat().st_mode & 0o777 == 0o600


def test_what_a_site_answers_is_what_its_record_has(tmp_path: Path) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"')
    assert one.propose() == ""
    answer = one.coordinator.train()
    assert isinstance(answer.message, messages.TrainReply)
    assert one.train(99) == "ROUND_OUT_OF_RANGE"
    lines, _ = egress_of(one.home, one.run)
    found = {(o.kind, o.part): o.num_bytes for o in lines}
    num_values = sum(array.nbytes for array in answer.arrays.values())
    assert found["train.reply", "sealed"] > num_values > 0
    assert found["manifest.reply", "message"] > 0
    assert found["refusal ROUND_OUT_OF_RANGE", "message"] > 0


def test_what_cannot_be_listed_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"')
    assert one.propose() == ""

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("no space is left")

    for note in ("note_departure", "note_answered"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fedward_client.daemon.handlers.{note}", full)
            answer = one.coordinator.train()
        assert answer.message == messages.Refusal("DISK_FULL")
        assert answer.arrays == {}

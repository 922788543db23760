import dataclasses

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.snapshot import FileState, Snapshot, SnapshotCase
from fedward_client.cohorts.registered.snapshot_change import SnapshotChange, change_between
from fedward_client.cohorts.source import Split


def case(patient: str, split: Split, image: int = 0) -> SnapshotCase:
    return SnapshotCase(
        case_id=f"{patient}-{image}", patient=patient, kind="image",
        files=(FileState(f"{patient}-{image}.dcm", 1, 1),), frame=None, label=0, split=split,
        mask=None, line=2, sex="", age_years=None, scanner="", modality="",
        identities=(f"id of {patient}", f"other id of {patient}"),
    )  # fmt: skip


def snapshot(number: int, *cases: SnapshotCase, codes: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(
        name="c", number=number, unit="patient", class_names=("a", "b"), mask_values=(),
        cases=cases, findings=tuple(Finding(code, line) for line, code in enumerate(codes, 2)),
        num_found=len(cases) + len(codes), fingerprint=str(number),
    )  # fmt: skip


def change(
    before: Snapshot | None,
    after: Snapshot,
    excluded: frozenset[str] = frozenset(),
    recorded: dict[str, Split] | None = None,
) -> SnapshotChange:
    return change_between(before, after, excluded=excluded, recorded=recorded or {})


TEN = tuple(case(f"p{number}", "train") for number in range(10))


def test_patients_are_counted_and_not_their_images() -> None:
    found = change(None, snapshot(1, case("p", "test"), case("p", "test", 1), case("q", "train")))
    assert found.splits == {"train": 1, "validation": 0, "test": 1}
    assert found.splits_before is None
    assert found.to_confirm == ()


def test_one_of_ten_patients_may_be_lost_and_two_must_be_confirmed() -> None:
    before = snapshot(1, *TEN)
    assert change(before, snapshot(2, *TEN[1:])).to_confirm == ()
    lost = change(before, snapshot(2, *TEN[2:]))
    assert lost.to_confirm == ("2 of 10 patients would be lost",)


def test_who_was_excluded_is_not_lost_and_does_not_shrink_the_test_split() -> None:
    before = snapshot(1, *TEN, case("t", "test"), case("u", "test"))
    after = snapshot(2, *TEN, case("u", "test"))
    assert change(before, after, frozenset({"t"})).to_confirm == ()
    assert change(before, after).to_confirm == ("the test split shrinks from 2 to 1",)


def test_any_name_that_is_recorded_for_the_test_split_counts_once_for_its_patient() -> None:
    recorded: dict[str, Split] = {"id of p0": "test", "other id of p0": "test", "id of p1": "train"}
    found = change(None, snapshot(1, *TEN), recorded=recorded)
    assert found.leaving_test == 1
    assert found.to_confirm == ("1 patient leaves the test split, for ever",)


def test_lines_that_were_refused_before_are_not_new() -> None:
    moved = ("E_SPLIT_MOVED", "E_SPLIT_MOVED")
    before = snapshot(1, *TEN, codes=(*moved, "EXCLUDED_BY_LABEL", "W_LABEL_TWICE"))
    after = snapshot(2, *TEN, codes=(*moved, "E_LABEL_VALUE", "EXCLUDED_BY_LABEL"))
    found = change(before, after)
    assert found.new_codes == {"E_LABEL_VALUE": 1}
    assert found.to_confirm == ()
    assert change(None, before).to_confirm == ("2 of 14 cases have another split than recorded",)


def test_the_same_snapshot_needs_no_confirmation() -> None:
    before = snapshot(1, *TEN)
    same = dataclasses.replace(snapshot(2), fingerprint="1")
    assert not change(before, same).is_new
    assert change(before, same).to_confirm == ()

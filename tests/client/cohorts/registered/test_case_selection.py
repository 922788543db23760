from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.fake_index import FakeIndex, facts
from tests.client.cohorts.small_cohorts import CLASSIFY, KEY

from fedward_client.cohorts.registered.case_selection import Selection, SiteKeys, select_cases
from fedward_client.cohorts.registered.label_file import LabelRow, LabelTable
from fedward_client.cohorts.registered.label_matching import match_rows
from fedward_client.cohorts.registered.patient_identity import StatedPatient, patient_findings
from fedward_client.cohorts.registered.quarantine import Quarantine, quarantine_of
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.split_decision import decide_splits
from fedward_client.cohorts.registered.split_record import record_key
from fedward_client.cohorts.source import SPLITS, Split
from fedward_client.cohorts.splits import split_of_patient
from fedward_client.pseudonyms import pseudonym
from fedward_common.job.sections import SplitFractions

KEYS = SiteKeys(KEY, KEY[::-1])
HALVES = SplitFractions(0.5, 0.0, 0.5)
Told = list[tuple[str, int | None]]


def select(
    rows: list[LabelRow],
    index: FakeIndex,
    *,
    recorded: Mapping[str, Split] | None = None,
    excluded: Iterable[str] = (),
    quarantine: Quarantine | None = None,
    **others: Any,
) -> tuple[Selection, Told]:
    """`recorded` and `excluded` go by patient id."""
    values: dict[str, Any] = {
        "name": "c",
        "labels_file": "/nowhere/labels.csv",
        "task": CLASSIFY,
        "cases": "images",
        "dicom_folder": "/nowhere/dicom",
    }
    registration = CohortRegistration(**(values | others))
    matched, _ = match_rows(LabelTable("instance", tuple(rows)), registration, index)
    by_key = {
        record_key(KEYS.pseudonym_key, "patient", "c", patient): split
        for patient, split in (recorded or {}).items()
    }
    selection = select_cases(
        matched,
        registration,
        KEYS,
        lambda keys: {key: by_key[key] for key in keys if key in by_key},
        {pseudonym(KEYS.pseudonym_key, "patient", one) for one in excluded},
        quarantine or Quarantine(),
    )
    return selection, [(one.code, one.line) for one in selection.findings]


def images(*patients: str) -> FakeIndex:
    """Images 1.1, 1.2 ... of these patients."""
    return FakeIndex([facts(f"1.{n}", patient_id=p) for n, p in enumerate(patients, start=1)])


def row(line: int, key: str, split: str = "", label: str = "0", **others: Any) -> LabelRow:
    return LabelRow(line, key, (label,), split=split, **others)


def test_a_patient_in_two_splits_is_left_out_with_all_images() -> None:
    rows = [row(2, "1.1", "train"), row(3, "1.2", "test"), row(4, "1.3"), row(5, "1.4", "test")]
    selection, told = select(rows, images("a", "a", "a", "b"))
    assert told == [("E_PATIENT_IN_TWO_SPLITS", line) for line in (2, 3, 4)]
    assert [one.patient for one in selection.cases] == ["b"]


def test_a_word_about_one_image_counts_for_all_of_the_patient() -> None:
    selection, told = select([row(2, "1.1", "test"), row(3, "1.2")], images("a", "a"))
    assert told == []
    assert [one.split for one in selection.cases] == ["test", "test"]


def test_a_patient_of_training_who_would_move_is_left_out() -> None:
    rows = [row(2, "1.1", "test"), row(3, "1.2", "validation"), row(4, "1.3", "train")]
    _, told = select(rows, images("a", "b", "c"), recorded={"a": "train", "b": "train"})
    assert told == [("E_SPLIT_MOVED", 2), ("E_SPLIT_MOVED", 3)]


def test_a_patient_may_move_into_training_and_stays_there() -> None:
    selection, told = select([row(2, "1.1", "train")], images("a"), recorded={"a": "test"})
    assert told == []
    assert set(selection.splits.values()) == {"train"}


def test_validation_does_not_become_test_for_it_chose_the_model() -> None:
    _, told = select([row(2, "1.1", "test")], images("a"), recorded={"a": "validation"})
    assert told == [("E_SPLIT_MOVED", 2)]


@given(
    patients=st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=30),
    train=st.floats(0, 1),
)
def test_a_recorded_hash_split_outlives_other_fractions(patients: list[str], train: float) -> None:
    nothing: dict[str, set[Split]] = {one: set() for one in patients}
    first = decide_splits(nothing, {}, HALVES, KEY)
    assert first.splits == {one: split_of_patient(one, KEY, HALVES) for one in patients}
    fractions = SplitFractions(train, 1 - train, 0.0)
    assert decide_splits(nothing, first.splits, fractions, KEY) == first


@given(
    before=st.sampled_from([None, *SPLITS]),
    words=st.sets(st.sampled_from(SPLITS)),
)
def test_nobody_who_was_trained_on_ever_tests(before: Split | None, words: set[Split]) -> None:
    recorded: dict[str, Split] = {} if before is None else {"a": before}
    decision = decide_splits({"a": words}, recorded, HALVES, KEY)
    assert ("a" in decision.splits) != ("a" in decision.codes)
    if before == "train":
        assert decision.splits.get("a", "train") == "train"


def test_two_lines_that_agree_are_one_case_and_two_that_do_not_are_none() -> None:
    rows = [row(2, "1.1"), row(3, "1.1"), row(4, "1.2"), row(5, "1.2", label="1"), row(6, "1.2")]
    selection, told = select(rows, images("a", "b"))
    assert [one.line for one in selection.cases] == [2]
    assert told == [("W_LABEL_TWICE", 3), *(("E_LABEL_CONTRADICTS", line) for line in (4, 5, 6))]


def test_an_excluded_patient_is_found_by_header_and_by_label_file() -> None:
    rows = [row(2, "1.1"), row(3, "1.2", patient="x"), row(4, "1.3", patient="y")]
    index = images("a", "b", "c")
    selection, told = select(rows, index, excluded=("b", "y"))
    assert [one.line for one in selection.cases] == [2]
    assert told == [("EXCLUDED_BY_REQUEST", 3), ("EXCLUDED_BY_REQUEST", 4)]


def test_an_excluded_patient_leaves_a_cohort_of_images_too() -> None:
    selection, told = select([row(2, "1.1", image_id="7")], images("a"), excluded=("a",),
                             unit="image")  # fmt: skip
    assert (selection.cases, told) == ((), [("EXCLUDED_BY_REQUEST", 2)])


def persons(*keys: str) -> FakeIndex:
    """Images 1.1, 1.2 ... of patients p1, p2 ..., by whom their names and birth dates show."""
    return FakeIndex(
        [facts(f"1.{n}", patient_id=f"p{n}", person_key=k) for n, k in enumerate(keys, start=1)]
    )


def test_one_person_under_two_ids_is_not_in_two_splits() -> None:
    rows = [row(2, "1.1", "train"), row(3, "1.2", "test"), row(4, "1.3", "test")]
    selection, told = select(rows, persons("same", "same", "other"))
    assert told == [("E_PATIENT_IN_TWO_SPLITS", 2), ("E_PATIENT_IN_TWO_SPLITS", 3)]
    assert [one.patient for one in selection.cases] == ["p3"]
    assert set(selection.splits) == set(selection.cases[0].identities)


def test_one_person_under_two_ids_in_one_split_stays() -> None:
    selection, told = select([row(2, "1.1", "test"), row(3, "1.2", "test")], persons("a", "a"))
    assert (told, len(selection.cases)) == ([], 2)


def test_a_person_of_training_under_one_id_does_not_test_under_another() -> None:
    rows = [row(2, "1.1"), row(3, "1.2", "test")]
    selection, told = select(rows, persons("a", "a"), recorded={"p1": "train"})
    assert selection.cases == ()
    assert told == [("E_PATIENT_IN_TWO_SPLITS", 2), ("E_PATIENT_IN_TWO_SPLITS", 3)]


def test_nobody_is_one_person_where_names_are_missing_or_the_same_for_all() -> None:
    for keys in (("", ""), ("anonymous",) * 12):
        rows = [
            row(line, f"1.{line - 1}", "train" if line % 2 else "test")
            for line in range(2, len(keys) + 2)
        ]
        selection, told = select(rows, persons(*keys))
        assert (told, len(selection.cases)) == ([], len(keys))


def test_where_images_are_the_unit_one_person_may_stand_in_two_splits() -> None:
    rows = [row(2, "1.1", "train"), row(3, "1.2", "test")]
    selection, told = select(rows, persons("a", "a"), unit="image")
    assert (told, len(selection.cases)) == ([], 2)


def test_quarantine_holds_as_long_as_the_file_is_the_same() -> None:
    selection, _ = select([row(2, "1.1"), row(3, "1.2")], images("a", "b"))
    first, second = selection.cases
    quarantine = quarantine_of([(first, "E_IMAGE_UNREADABLE"), (second, "W_PIXELS_TWICE")])
    again, told = select([row(2, "1.1"), row(3, "1.2")], images("a", "b"), quarantine=quarantine)
    assert [one.line for one in again.cases] == [3]
    assert told == [("E_IMAGE_UNREADABLE", 2), ("W_PIXELS_TWICE", 3)]
    exported = FakeIndex([facts("1.1", patient_id="a", modified_ns=9), facts("1.2")])
    anew, told = select([row(2, "1.1"), row(3, "1.2")], exported, quarantine=quarantine)
    assert [one.line for one in anew.cases] == [2, 3]


def test_only_patients_of_the_snapshot_are_recorded() -> None:
    selection, _ = select([row(2, "1.1"), row(3, "1.2")], images("a", "b"), excluded=("b",))
    key = KEYS.pseudonym_key
    assert set(selection.splits) == {
        record_key(key, "patient", "c", "a"),
        record_key(key, "image", "c", "1.1", is_uid=True),
    }


def test_names_of_images_mean_something_in_their_cohort_alone() -> None:
    key = KEYS.pseudonym_key
    names = {
        record_key(key, "patient", "one", "7"),
        record_key(key, "patient", "two", "7"),
        record_key(key, "image", "one", "7"),
        record_key(key, "image", "two", "7"),
        record_key(key, "lesion", "one", "7"),
        record_key(key, "image", "one", "7", is_uid=True),
        record_key(key, "image", "two", "7", is_uid=True),
    }
    assert len(names) == 5


def stated(*pairs: tuple[str, str, str]) -> Told:
    lines = [StatedPatient(n, *pair) for n, pair in enumerate(pairs, start=2)]
    return [(one.code, one.line) for one in patient_findings(lines)]


def test_a_line_that_names_another_patient_than_its_image_is_refused() -> None:
    told = stated(("a", "a", "ka"), ("b", "b", "kb"), ("a", "b", "kb"), ("", "c", ""))
    assert told == [("E_PATIENT_CONTRADICTS", 4)]


def test_one_person_with_two_ids_may_be_given_one() -> None:
    assert stated(("a", "a", "same"), ("a", "a-old", "same")) == []


def test_ids_of_the_label_files_own_are_taken_with_a_warning() -> None:
    told = stated(("x", "a", ""), ("x", "a", ""), ("y", "b", ""))
    assert told == [("W_PATIENT_RENAMED", None)]
    told = stated(("x", "a", ""), ("y", "a", ""), ("z", "b", ""))
    assert told == [
        ("W_PATIENT_RENAMED", None),
        ("E_PATIENT_CONTRADICTS", 2),
        ("E_PATIENT_CONTRADICTS", 3),
    ]

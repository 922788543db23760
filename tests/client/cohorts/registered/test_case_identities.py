"""Nobody who was trained on tests a model under another name, whatever a cohort knows people by."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.client.cohorts.fake_index import FakeIndex, facts
from tests.client.cohorts.small_cohorts import CLASSIFY, KEY

from fedward_client.cohorts.registered.case_selection import Selection, SiteKeys, select_cases
from fedward_client.cohorts.registered.label_file import LabelRow, LabelTable
from fedward_client.cohorts.registered.label_matching import match_rows
from fedward_client.cohorts.registered.quarantine import Quarantine
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.split_decision import more_seen
from fedward_client.cohorts.source import SPLITS, Split, Unit
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_common.errors import ConfigurationError

KEYS = SiteKeys(KEY, KEY[::-1])


class Site:
    """Cohorts that are registered one after another, and the record they share."""

    def __init__(self) -> None:
        self.record: dict[str, Split] = {}

    def register(
        self,
        rows: Iterable[LabelRow],
        *instances: InstanceFacts,
        unit: Unit = "patient",
        name: str = "c",
    ) -> Selection:
        registration = CohortRegistration(
            name=name, labels_file="/nowhere/labels.csv", task=CLASSIFY, cases="images",
            dicom_folder="/nowhere/dicom", unit=unit,
        )  # fmt: skip
        table = LabelTable("instance", tuple(rows))
        matched, _ = match_rows(table, registration, FakeIndex(list(instances)))
        selection = select_cases(matched, registration, KEYS, self._splits, (), Quarantine())
        for key, split in selection.splits.items():
            self.record[key] = more_seen(split, self.record.get(key, split))
        return selection

    def _splits(self, keys: Iterable[str]) -> Mapping[str, Split]:
        return {key: self.record[key] for key in keys if key in self.record}


def row(line: int, sop: str, split: str = "", **others: Any) -> LabelRow:
    return LabelRow(line, sop, ("0",), split=split, **others)


def image(sop: str, patient: str, person: str = "") -> InstanceFacts:
    return facts(sop, patient_id=patient, person_key=person)


TRAINED = image("1.1", "a", "person of a")

# How a second cohort may know patient "a", who was trained on as the header's "a".
DISGUISES: dict[str, tuple[LabelRow, InstanceFacts, Unit]] = {
    "the header's id, with images as the unit": (row(2, "1.9"), image("1.9", "a"), "image"),
    "an image's own name": (row(2, "1.9", image_id="7"), image("1.9", "a"), "image"),
    "the person, with images as the unit": (
        row(2, "1.9"), image("1.9", "", "person of a"), "image",
    ),
    "the image itself": (row(2, "1.1"), image("1.1", ""), "image"),
    "an id of the label file": (row(2, "1.9", patient="x"), image("1.9", "a"), "patient"),
    "another id of the header": (row(2, "1.9"), image("1.9", "b", "person of a"), "patient"),
    "an id of the label file that was a header's": (
        row(2, "1.9", patient="a"), image("1.9", "b"), "patient",
    ),
    "the image under another id": (row(2, "1.1", patient="x"), image("1.1", ""), "patient"),
    "a lesion": (row(2, "1.9", patient="L7"), image("1.9", "a"), "lesion"),
}  # fmt: skip


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_training_patient_does_not_test_under_another_name(disguise: str) -> None:
    line, instance, unit = DISGUISES[disguise]
    site = Site()
    site.register([row(2, "1.1", "train")], TRAINED)
    for split in ("test", "validation"):
        stated = LabelRow(2, line.key, line.labels, line.patient, split, image_id=line.image_id)
        moved = site.register([stated], instance, unit=unit, name="d")
        assert [one.code for one in moved.findings if one.line] == ["E_SPLIT_MOVED"]
        assert moved.cases == ()
    unstated = site.register([line], instance, unit=unit, name="d")
    assert [one.split for one in unstated.cases] == ["train"]


@pytest.mark.parametrize("disguise", DISGUISES)
def test_nor_after_training_under_the_other_name(disguise: str) -> None:
    line, instance, unit = DISGUISES[disguise]
    site = Site()
    stated = LabelRow(2, line.key, line.labels, line.patient, "train", image_id=line.image_id)
    assert len(site.register([stated], instance, unit=unit, name="d").cases) == 1
    moved = site.register([row(2, "1.1", "test")], TRAINED)
    assert [one.code for one in moved.findings] == ["E_SPLIT_MOVED"]


def test_an_id_that_became_training_takes_the_persons_other_names_with_it() -> None:
    site = Site()
    site.register([row(2, "1.9", "test", patient="x")], image("1.9", "a"))
    moved = site.register([row(2, "1.1", "train")], TRAINED, name="d")
    assert [one.split for one in moved.cases] == ["train"]
    again = site.register([row(2, "1.9", patient="x")], image("1.9", "a"))
    assert [one.split for one in again.cases] == ["train"]


# -- units -----------------------------------------------------------------------------------------


def test_images_with_repeated_patient_ids_are_no_units() -> None:
    images = [image("1.1", "a"), image("1.2", "b"), image("1.3", "a"), image("1.4", "b")]
    rows = [row(n + 2, one.sop_instance_uid) for n, one in enumerate(images)]
    with pytest.raises(ConfigurationError, match="2 such ids") as raised:
        Site().register(rows, *images, unit="image")
    assert "--unit patient" in raised.value.hint and "lesion" in raised.value.hint


@pytest.mark.parametrize("patients", [("", "", ""), ("a", "b", "c"), ("a", "", "")])
def test_images_whose_patient_ids_are_distinct_or_empty_are_units(
    patients: tuple[str, ...],
) -> None:
    images = [image(f"1.{n}", patient) for n, patient in enumerate(patients)]
    rows = [row(n + 2, one.sop_instance_uid) for n, one in enumerate(images)]
    twice = [*rows, row(9, "1.0")]  # two lines about one image
    for several in (rows, twice):
        assert len(Site().register(several, *images, unit="image").cases) == 3


def test_lesions_of_one_patient_stand_in_one_split() -> None:
    site = Site()
    images = [image(f"1.{n}", "a") for n in range(8)]
    rows = [row(n + 2, f"1.{n}", patient=f"L{n}") for n in range(8)]
    first = site.register(rows[:5], *images, unit="lesion")
    assert len(first.cases) == 5 and len({one.split for one in first.cases}) == 1
    more = site.register(rows, *images, unit="lesion")
    assert {one.split for one in more.cases} == {one.split for one in first.cases}


def test_lesions_of_one_patient_that_are_said_to_be_in_two_splits_are_left_out() -> None:
    rows = [row(2, "1.1", "train", patient="L1"), row(3, "1.2", "test", patient="L2"),
            row(4, "1.3", "test", patient="L3")]  # fmt: skip
    images = [image("1.1", "a"), image("1.2", "a"), image("1.3", "b")]
    selection = Site().register(rows, *images, unit="lesion")
    assert [one.patient for one in selection.cases] == ["L3"]
    assert [one.code for one in selection.findings] == ["E_PATIENT_IN_TWO_SPLITS"] * 2


def test_one_id_for_everybody_joins_nobody() -> None:
    images = [image(f"1.{n}", "ANONYMOUS", "anonymous") for n in range(40)]
    rows = [row(n + 2, f"1.{n}", patient=f"L{n}") for n in range(40)]
    site = Site()
    first = site.register(rows, *images, unit="lesion")
    splits = [one.split for one in first.cases]
    assert set(splits) > {"train"} and len(splits) == 40
    again = site.register(rows, *images, unit="lesion")
    assert [one.split for one in again.cases] == splits


# -- always ----------------------------------------------------------------------------------------

_ids = st.sampled_from(["", "a", "b", "c"])
_lines = st.tuples(
    st.integers(0, 5), _ids, _ids, st.sampled_from(["", "p", "q"]), st.sampled_from(["", *SPLITS])
)
_cohorts = st.lists(
    st.tuples(st.sampled_from(["patient", "lesion", "image"]), st.lists(_lines, max_size=6)),
    min_size=1,
    max_size=4,
)


def _register_all(site: Site, cohorts: list[tuple[Unit, list[Any]]]) -> Iterable[Selection]:
    for number, (unit, lines) in enumerate(cohorts):
        instances = {n: image(f"1.{n}", patient, person) for n, patient, _, person, _ in lines}
        rows = [
            row(at + 2, f"1.{n}", split, patient=label)
            for at, (n, _, label, _, split) in enumerate(lines)
        ]
        try:
            yield site.register(rows, *instances.values(), unit=unit, name=f"c{number}")
        except ConfigurationError:
            assert unit == "image"


# Lines say that one image is of two patients: they stand in one split.
@example(
    cohorts=[
        (
            "patient",
            [(0, "", "", "", "")] * 2
            + [(0, "", "a", "", "validation"), (0, "", "b", "", "")]
            + [(1, "", "a", "", ""), (2, "", "b", "", "")],
        )
    ]
)
@given(cohorts=_cohorts)
def test_no_identity_of_a_test_case_was_ever_trained_on(
    cohorts: list[tuple[Unit, list[Any]]],
) -> None:
    site = Site()
    trained: set[str] = set()
    for selection in _register_all(site, cohorts):
        for one in selection.cases:
            assert one.split == "train" or trained.isdisjoint(one.identities)
            assert set(one.identities) <= set(site.record)
        trained |= {
            name for one in selection.cases if one.split == "train" for name in one.identities
        }
        for one in selection.cases:
            assert one.split == "train" or trained.isdisjoint(one.identities)


@given(cohort=_cohorts.map(lambda several: several[0]))
def test_the_same_cohort_again_has_the_same_splits(cohort: tuple[Unit, list[Any]]) -> None:
    site = Site()
    first = list(_register_all(site, [cohort]))
    again = list(_register_all(site, [cohort]))
    assert [one.cases for one in again] == [one.cases for one in first]

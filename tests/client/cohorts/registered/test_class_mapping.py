from typing import Any

import numpy as np
import pytest

from fedward_client.cohorts.registered.class_mapping import (
    ClassMapping,
    drawn_value,
    mask_values,
    segment_meanings,
)
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import CohortError, ConfigurationError
from fedward_common.job.job_file import TaskClass, TaskSection


def task_of(kind: Any, *names: str, multi_label: bool = False) -> TaskSection:
    classes = tuple(TaskClass(number, name) for number, name in enumerate(names))
    return TaskSection(kind, classes, multi_label=multi_label)


def mapping(registered: TaskSection, job: TaskSection, **values: int) -> ClassMapping:
    masks = {int(value.strip("v")): target for value, target in values.items()}
    return ClassMapping(registered, registered.class_names, masks, job)


def test_labels_go_by_name_and_what_nobody_looked_at_stays_so() -> None:
    classes = mapping(
        task_of("classification", "a", "b", "c"), task_of("classification", "c", "a", "b")
    )
    assert [classes.label_of(n) for n in (0, 1, 2)] == [1, 2, 0]
    assert classes.label_of(NOT_ANNOTATED) == NOT_ANNOTATED
    assert classes.label_of(None) is None


def test_findings_of_a_multi_label_task_are_put_in_the_jobs_order() -> None:
    registered = task_of("classification", "a", "b", "c", multi_label=True)
    classes = mapping(registered, task_of("classification", "c", "a", "b", multi_label=True))
    assert classes.label_of((1, 0, NOT_ANNOTATED)) == (NOT_ANNOTATED, 1, 0)


ORGANS = task_of("segmentation", "background", "liver", "spleen")


def test_mask_values_become_the_jobs_classes() -> None:
    job = task_of("segmentation", "background", "spleen", "liver")
    classes = mapping(ORGANS, job, v5=1, v300=2, v9=NOT_ANNOTATED)
    mask = np.array([[0, 5], [300, 9]], dtype=np.uint16)
    found = classes.mask_of(mask)
    assert found.tolist() == [[0, 2], [1, NOT_ANNOTATED_VOXEL]] and found.dtype == np.uint8


def test_negative_values_and_another_background_can_be_mapped() -> None:
    found = mapping(ORGANS, ORGANS, v0=NOT_ANNOTATED, v1=0).mask_of(np.array([0, 1], dtype=np.int8))
    assert found.tolist() == [NOT_ANNOTATED_VOXEL, 0]
    classes = ClassMapping(ORGANS, ORGANS.class_names, {-1024: 1}, ORGANS)
    assert classes.mask_of(np.array([-1024, 0], dtype=np.int16)).tolist() == [1, 0]


@pytest.mark.parametrize("value", [4, -1, 255, 70_000, 2**62])
def test_a_value_that_was_not_mapped_is_refused_and_costs_no_memory(value: int) -> None:
    with pytest.raises(UnusableCaseError) as raised:
        mapping(ORGANS, ORGANS, v1=1, v2=2).mask_of(np.array([0, value]))
    assert raised.value.code == "E_MASK_VALUE"


@pytest.mark.parametrize(
    "job",
    [
        task_of("segmentation", "background", "liver"),
        task_of("segmentation", "background", "liver", "kidney"),
        task_of("segmentation", "liver", "background", "spleen"),
        task_of("classification", "background", "liver", "spleen"),
    ],
)
def test_another_task_is_refused_by_code(job: TaskSection) -> None:
    with pytest.raises(CohortError) as raised:
        mapping(ORGANS, job)
    assert raised.value.code == "E_TASK_MISMATCH"


def test_segments_are_told_by_number_or_name_in_any_capitals() -> None:
    told: dict[str, str | int] = {
        " GTV-1 ": "liver",
        "3": 2,
        "Body": "exclude",
        "unclear": "not annotated",
        "0": 0,
    }
    assert segment_meanings(told, ORGANS) == (
        ("3", drawn_value(2)),
        ("body", None),
        ("gtv-1", drawn_value(1)),
        ("unclear", drawn_value(NOT_ANNOTATED)),
    )
    assert segment_meanings({}, ORGANS) == ()


@pytest.mark.parametrize(
    "told",
    [{"GTV": "liver", "gtv ": "spleen"}, {"GTV": "liver", "gtv": "exclude"}, {"0": "exclude"}],
)
def test_contradicting_meanings_are_refused(told: dict[str, str | int]) -> None:
    with pytest.raises(ConfigurationError):
        segment_meanings(told, ORGANS)


def test_only_numbers_are_values_of_a_masks_file_and_excluded_ones_are_not_drawn() -> None:
    told: dict[str, str | int] = {"GTV": "liver", "5": "spleen", "9": "exclude"}
    assert mask_values(told, ORGANS) == ((0, 0), (5, 2), (9, 0))
    assert mask_values({**told, "0": "not annotated"}, ORGANS) == (
        (0, NOT_ANNOTATED),
        (5, 2),
        (9, NOT_ANNOTATED),
    )
    assert mask_values({}, ORGANS) == ((0, 0), (1, 1), (2, 2))


def test_what_was_drawn_becomes_the_jobs_classes() -> None:
    job = task_of("segmentation", "background", "spleen", "liver")
    drawn = np.array([0, *map(drawn_value, (0, 1, 2, NOT_ANNOTATED))], dtype=np.uint16)
    classes = mapping(ORGANS, job, v7=1)
    found = classes.mask_of(drawn, is_drawn=True)
    assert found.tolist() == [0, 0, 2, 1, NOT_ANNOTATED_VOXEL] and found.dtype == np.uint8
    around = mapping(ORGANS, job, v0=NOT_ANNOTATED).mask_of(drawn, is_drawn=True)
    assert around.tolist() == [NOT_ANNOTATED_VOXEL, 0, 2, 1, NOT_ANNOTATED_VOXEL]
    with pytest.raises(UnusableCaseError, match="E_MASK_VALUE"):
        classes.mask_of(np.array([drawn_value(3)]), is_drawn=True)

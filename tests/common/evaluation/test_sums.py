from collections.abc import Callable
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import CohortError, MalformedMessageError, UnusableUpdateError
from fedward_common.evaluation.sums import (
    FIXED_POINT_ONE,
    MAX_CASES,
    MAX_LOSS,
    NUM_SCORE_BINS,
    ClassificationSums,
    MultiLabelSums,
    SegmentationSums,
    Sums,
    dice_per_structure,
    empty_sums,
    sums_from_vector,
    sums_of_classification,
    sums_of_multi_label,
    sums_of_segmentation,
)
from fedward_common.job.job_file import TaskClass, TaskSection

Rng = np.random.Generator


def task_of(num_classes: int, kind: str = "classification") -> TaskSection:
    classes = tuple(TaskClass(k, f"c{k}") for k in range(num_classes))
    if kind == "multi-label":
        return TaskSection("classification", classes, multi_label=True)
    return TaskSection("segmentation" if kind == "segmentation" else "classification", classes)


def random_classification(rng: Rng, patients: range, k: int) -> ClassificationSums:
    owners = (
        rng.choice(np.array(patients), size=2 * len(patients)) if patients else np.zeros(0, int)
    )
    probabilities = rng.dirichlet(np.full(k, 0.3), size=len(owners))
    labels = rng.integers(0, k, size=len(owners))
    losses = rng.exponential(size=len(owners))
    return sums_of_classification(probabilities, labels, owners, losses)


def random_segmentation(rng: Rng, patients: range, k: int) -> SegmentationSums:
    dice = rng.random((len(patients), k - 1))
    dice[rng.random(dice.shape) < 0.3] = np.nan
    return sums_of_segmentation(dice, np.array(patients), rng.exponential(size=len(patients)))


def random_multi_label(rng: Rng, patients: range, k: int) -> MultiLabelSums:
    owners = (
        rng.choice(np.array(patients), size=2 * len(patients)) if patients else np.zeros(0, int)
    )
    shape = (len(owners), k)
    labels = rng.integers(-1, 2, size=shape)
    return sums_of_multi_label(rng.random(shape), labels, owners, rng.exponential(size=shape))


MAKERS: dict[str, Callable[[Rng, range, int], Sums]] = {
    "classification": random_classification,
    "multi-label": random_multi_label,
    "segmentation": random_segmentation,
}


def merged(left: Sums, right: Sums) -> Sums:
    return left.merge(right)  # type: ignore[arg-type]  # both are of one kind here


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    k=st.integers(2, 4),
    cuts=st.lists(st.integers(0, 30), max_size=4).map(sorted),
)
def test_sums_merged_in_any_order_and_partition_are_the_pooled_sums(
    kind: str, seed: int, k: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    edges = [0, *cuts, 30]
    parts = [MAKERS[kind](rng, range(low, high), k) for low, high in pairwise(edges)]
    pooled = reduce(merged, parts)
    shuffled = [parts[i] for i in rng.permutation(len(parts))]
    half = len(shuffled) // 2
    task = task_of(k, kind)
    tree = merged(
        reduce(merged, shuffled[:half], empty_sums(task)),
        reduce(merged, shuffled[half:], empty_sums(task)),
    )
    assert tree == pooled
    added = np.sum([part.to_vector() for part in parts], axis=0)
    assert sums_from_vector(added, task) == pooled


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 20))
def test_two_sites_merge_to_exactly_what_one_site_with_all_patients_sums_up(
    seed: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    owners, labels = np.sort(rng.integers(0, 20, 40)), rng.integers(0, 3, 40)
    rows, losses = rng.dirichlet(np.ones(3), 40), rng.exponential(size=40)
    dice = rng.random((40, 2))
    here, there = owners < cut, owners >= cut
    both = [sums_of_classification(rows[s], labels[s], owners[s], losses[s]) for s in (here, there)]
    assert both[0].merge(both[1]) == sums_of_classification(rows, labels, owners, losses)
    findings = rng.integers(-1, 2, (40, 3))
    several = [sums_of_multi_label(rows[s], findings[s], owners[s], rows[s]) for s in (here, there)]
    assert several[0].merge(several[1]) == sums_of_multi_label(rows, findings, owners, rows)
    masks = [sums_of_segmentation(dice[s], owners[s], losses[s]) for s in (here, there)]
    assert masks[0].merge(masks[1]) == sums_of_segmentation(dice, owners, losses)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("k", [2, 3, 255])
def test_a_vector_reads_back_as_the_sums_it_was_made_of(kind: str, k: int) -> None:
    sums = MAKERS[kind](np.random.default_rng(1), range(20), k)
    assert sums_from_vector(sums.to_vector(), task_of(k, kind)) == sums
    empty = empty_sums(task_of(k, kind))
    assert empty.to_vector().shape == sums.to_vector().shape
    assert merged(empty, sums) == sums


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("k", [2, 3])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), change=st.sampled_from([-(2**62), -1, 2**40, 2**62]))
def test_a_vector_with_one_count_changed_is_refused(
    kind: str, k: int, seed: int, change: int
) -> None:
    rng = np.random.default_rng(seed)
    vector = MAKERS[kind](rng, range(10), k).to_vector()
    at = int(rng.integers(len(vector)))
    length = len(vector) // k if kind == "multi-label" else len(vector)  # of one finding
    is_fixed_point = at % length == length - 2
    is_fixed_point |= kind == "segmentation" and k - 1 <= at < 3 * (k - 1)
    if is_fixed_point:  # a sum of floats may be any number in its range
        change = int(np.sign(change)) * 2**62
    vector[at] += change
    with pytest.raises(MalformedMessageError):
        sums_from_vector(vector, task_of(k, kind))


def test_a_vector_of_another_length_dtype_or_shape_is_refused() -> None:
    vector = empty_sums(task_of(2)).to_vector()
    for wrong in (vector[:-1], vector.astype(np.float64), vector[None], vector.astype(np.uint64)):
        with pytest.raises(MalformedMessageError):
            sums_from_vector(wrong, task_of(2))
    with pytest.raises(MalformedMessageError):
        sums_from_vector(vector, task_of(3))


def test_a_binary_histogram_that_contradicts_the_confusion_is_refused() -> None:
    sums = sums_of_classification(
        np.array([[0.2, 0.8]]), np.array([1]), np.array([7]), np.array([0.1])
    )
    flipped = sums.histograms[:, :, ::-1]
    with pytest.raises(MalformedMessageError, match="predicted as class 1"):
        ClassificationSums(flipped, sums.confusion, sums.loss_sum, sums.count)


def test_the_largest_sums_fit_and_larger_ones_are_refused_without_overflow() -> None:
    histograms = np.zeros((1, 2, NUM_SCORE_BINS), dtype=np.int64)
    histograms[0, 0, 0] = MAX_CASES
    confusion = np.array([[MAX_CASES, 0], [0, 0]])
    largest_loss = MAX_CASES * int(MAX_LOSS) * FIXED_POINT_ONE
    full = ClassificationSums(histograms, confusion, largest_loss, MAX_CASES)
    assert sums_from_vector(full.to_vector(), task_of(2)) == full
    assert 2 * largest_loss < 2**63
    with pytest.raises(MalformedMessageError):
        full.merge(full)


def test_images_of_one_patient_and_label_are_one_case_with_their_mean_probability() -> None:
    sums = sums_of_classification(
        probabilities=np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]]),
        labels=np.array([1, 1, 0, 1]),
        patients=np.array([5, 5, 5, 6]),
        losses=np.array([1.0, 2.0, 4.0, 8.0]),
    )
    # Cases: patient 5 label 1 (mean 0.4), patient 5 label 0 (0.8), patient 6 label 1 (0.4).
    assert sums.count == 3
    np.testing.assert_array_equal(sums.confusion, [[0, 1], [2, 0]])
    assert sums.loss_sum == int((1.5 + 4 + 8) * FIXED_POINT_ONE)
    score = np.log(0.4 / 0.6)
    assert sums.histograms[0, 1, int((score + 12) / 24 * 1024)] == 2


def test_certain_and_even_probabilities_fall_in_the_outer_and_the_middle_bin() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    sums = sums_of_classification(rows, np.array([0, 1, 1]), np.arange(3), np.zeros(3))
    assert sums.histograms[0, 0, 0] == 1
    assert sums.histograms[0, 1, 1023] == sums.histograms[0, 1, 512] == 1
    np.testing.assert_array_equal(sums.confusion, [[1, 0], [0, 2]])


def test_a_loss_is_clipped_and_a_diverged_model_is_refused() -> None:
    row, one = np.array([[0.5, 0.5]]), np.array([1])
    assert sums_of_classification(row, one, one, np.array([1e9])).loss_sum == 64 * FIXED_POINT_ONE
    with pytest.raises(UnusableUpdateError):
        sums_of_classification(row, one, one, np.array([np.nan]))
    with pytest.raises(UnusableUpdateError):
        sums_of_classification(row * np.nan, one, one, np.zeros(1))
    with pytest.raises(CohortError):
        sums_of_classification(row, np.array([2]), one, np.zeros(1))


def test_dice_is_averaged_within_a_patient_over_the_images_that_have_one() -> None:
    nan = np.nan
    dice = np.array([[0.5, nan], [1.0, nan], [nan, 0.25], [0.25, nan]])
    sums = sums_of_segmentation(dice, np.array([1, 1, 1, 2]), np.array([1.0, 2.0, 3.0, 5.0]))
    np.testing.assert_array_equal(sums.counts, [2, 1])
    np.testing.assert_array_equal(sums.both_empty, [0, 1])
    np.testing.assert_array_equal(sums.dice_sums / FIXED_POINT_ONE, [1.0, 0.25])
    np.testing.assert_array_equal(sums.dice_square_sums / FIXED_POINT_ONE, [0.625, 0.0625])
    assert (sums.loss_sum / FIXED_POINT_ONE, sums.patients) == (7.0, 2)


def test_dice_of_masks_worked_by_hand() -> None:
    truth = np.array([[0, 1, 1], [2, 2, 0]])
    prediction = np.array([[1, 1, 0], [0, 0, 0]])
    dice = dice_per_structure(prediction, truth, num_classes=4)
    np.testing.assert_array_equal(dice, [0.5, 0.0, np.nan])  # 2*1/(2+2); missed; in neither
    with pytest.raises(ValueError, match="class 2"):
        dice_per_structure(prediction, truth, num_classes=2)
    with pytest.raises(ValueError, match="shape"):
        dice_per_structure(prediction, truth[:1], num_classes=4)


def test_dice_leaves_out_what_is_not_annotated_whatever_was_predicted_there() -> None:
    truth = np.array([[0, 1, 1, 255], [2, 2, 0, 255]], dtype=np.uint8)
    prediction = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    for guess in (0, 1, 2, 3):
        prediction[:, 3] = guess
        dice = dice_per_structure(prediction, truth, num_classes=4)
        np.testing.assert_array_equal(dice, [0.5, 0.0, np.nan])  # as without the last column
    nothing = dice_per_structure(prediction, np.full_like(truth, 255), num_classes=4)
    assert np.isnan(nothing).all()


def test_sums_do_not_change_with_the_array_they_were_made_of() -> None:
    counts = np.array([1])
    sums = SegmentationSums(counts, counts, counts, counts, 0, 2)
    counts[0] = 2
    assert sums.counts.tolist() == [1]
    with pytest.raises(ValueError, match="read-only"):
        sums.counts[0] = 3

"""The best round and the end of patience, by hand and against a slow oracle."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fedward_server.coordinator.selection import is_best, should_stop

Evaluation = dict[str, Any]


def evaluation(
    number: int, value: float | None, num_sites: int = 10, metric: str = "auc"
) -> Evaluation:
    return {
        "round": number,
        "figures": {metric: {"value": value, "support": 100}},
        "sites": [f"site{site}" for site in range(num_sites)],
    }


def is_next_best(
    before: list[Evaluation], value: float | None, num_sites: int = 10, metric: str = "auc"
) -> bool:
    return is_best(metric, evaluation(99, value, num_sites, metric), before)


def test_the_first_defined_figure_is_the_best() -> None:
    assert is_next_best([], 0.3)
    assert is_next_best([evaluation(1, None)], 0.3)


def test_an_undefined_figure_is_never_the_best() -> None:
    assert not is_next_best([], None)


def test_a_tie_keeps_the_earlier_round() -> None:
    assert not is_next_best([evaluation(1, 0.8)], 0.8)


def test_a_lower_loss_is_better() -> None:
    assert is_next_best([evaluation(1, 0.8, metric="loss")], 0.7, metric="loss")
    assert not is_next_best([evaluation(1, 0.8, metric="loss")], 0.9, metric="loss")


def test_a_round_that_several_sites_missed_cannot_be_the_best() -> None:
    assert not is_next_best([evaluation(1, 0.7)], 0.99, num_sites=6)
    assert is_next_best([evaluation(1, 0.7)], 0.99, num_sites=9)


def test_the_number_of_patients_that_a_figure_counts_decides_nothing() -> None:
    before = evaluation(1, 0.7)
    before["figures"]["auc"]["support"] = 10_000_000
    assert is_next_best([before], 0.8)


def test_a_round_that_several_sites_missed_stands_in_nobodys_way() -> None:
    assert is_next_best([evaluation(1, 0.99, num_sites=6)], 0.7)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=20))
def test_with_all_sites_the_best_is_the_first_of_the_largest(values: list[float | None]) -> None:
    best: int | None = None
    before: list[Evaluation] = []
    for number, value in enumerate(values, start=1):
        if is_next_best(before, value):
            best = number
        before.append(evaluation(number, value))
    defined = [v for v in values if v is not None]
    assert best == (values.index(max(defined)) + 1 if defined else None)


def test_patience_ends_after_so_many_evaluations_without_a_better_one() -> None:
    evaluations = [evaluation(number, 0.5) for number in (5, 10, 15, 20)]
    assert not should_stop(3, 10, evaluations)
    assert should_stop(2, 10, evaluations)
    assert not should_stop(2, 20, evaluations)


def test_no_patience_given_and_no_best_round_never_stop() -> None:
    evaluations = [evaluation(number, None) for number in range(1, 50)]
    assert not should_stop(0, 1, evaluations)
    assert not should_stop(3, None, evaluations)

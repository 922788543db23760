"""Workers begin with what takes minutes, and no test is lost or doubled by that."""

from collections import Counter
from pathlib import Path

import pytest
from tests.long_tests_first import MINUTES, long_tests_first

SHORT = [f"tests/common/test_{n}.py::test_it" for n in range(90)]
LONG = [f"{name}test_a.py::test_it" if name.endswith("/") else f"{name}::test_{case}"
        for name in MINUTES for case in range(3)]  # fmt: skip
OTHERS = [f"tests/e2e/test_{n}.py::test_it" for n in range(4)]
NAMES = [*SHORT[:40], *OTHERS, *LONG, *SHORT[40:]]


def ordered(workers: int) -> list[str]:
    return long_tests_first([(name, name) for name in NAMES], workers)


def pieces(workers: int) -> list[list[str]]:
    """Cut as `--dist worksteal` does at its start."""
    left, found = ordered(workers), []
    for others in range(workers, 0, -1):
        size = len(left) // others
        found.append(left[:size])
        left = left[size:]
    return found


@pytest.mark.parametrize("workers", range(1, 9))
def test_every_test_is_there_once(workers: int) -> None:
    assert Counter(ordered(workers)) == Counter(NAMES)


def test_of_two_workers_each_begins_with_its_share() -> None:
    for piece in pieces(2):
        assert piece[0].startswith(tuple(MINUTES))
        assert not piece[-1].startswith("tests/e2e/")


def test_of_three_workers_the_last_has_short_tests_alone() -> None:
    first, second, third = pieces(3)
    assert first[0].startswith("tests/e2e/faults/")
    assert second[0].startswith(tuple(MINUTES))
    assert not any(name.startswith("tests/e2e/") for name in third)


@pytest.mark.parametrize("workers", range(2, 7))
def test_long_tests_stand_at_the_beginning_of_a_piece(workers: int) -> None:
    for piece in pieces(workers):
        are_long = [name.startswith("tests/e2e/") for name in piece]
        assert are_long == sorted(are_long, reverse=True)


def test_what_shares_a_set_up_stays_together() -> None:
    for group in MINUTES:
        places = [place for place, name in enumerate(ordered(3)) if name.startswith(group)]
        assert places == list(range(places[0], places[-1] + 1))


def test_short_tests_keep_their_order() -> None:
    assert [name for name in ordered(3) if name in SHORT] == SHORT


def test_fewer_tests_than_workers_are_no_problem() -> None:
    assert long_tests_first([(LONG[0], 1), (SHORT[0], 2)], 8) == [1, 2]
    assert long_tests_first([], 2) == []


def test_what_is_said_to_be_long_is_there(project_root: Path) -> None:
    assert [name for name in MINUTES if not (project_root / name).exists()] == []

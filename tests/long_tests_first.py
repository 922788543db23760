"""In which order workers that steal from each other's ends begin: with what takes minutes.

`pytest-xdist --dist worksteal` cuts the list into one piece for each worker, and who is done takes
from the end of another's. A test of minutes that is begun last would leave the others idle. And
tests of real processes wait more than they compute: beside them one worker computes all the time.
"""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

# What takes longest, in rough minutes; other files below tests/e2e/ take less than one.
MINUTES = {
    "tests/e2e/faults/": 16,
    "tests/e2e/test_hospitals_on_a_network.py": 7,
    "tests/e2e/test_real_federation.py": 7,
    "tests/e2e/test_readme.py": 5,
    "tests/e2e/test_coordinator_commands.py": 3,
    "tests/e2e/test_neighbouring_releases.py": 3,
}
_LONG = "tests/e2e/"
_OTHER_MINUTES = 1


def long_tests_first(items: Sequence[tuple[str, Item]], workers: int) -> list[Item]:
    """Give all items so that each worker's piece begins with its share of the long ones.

    What shares a set-up, a file or a folder with a name above, stays together. Of three workers or
    more the last has no long ones.

    Args:
        items: Each with its name, such as `tests/common/test_clock.py::test_it`.
        workers: How many pieces the list is cut into, of equal length.
    """
    groups: dict[str, list[Item]] = {}
    short: list[Item] = []
    for name, item in items:
        if name.startswith(_LONG):
            groups.setdefault(_group_of(name), []).append(item)
        else:
            short.append(item)
    shares = _dealt(groups, workers if workers < 3 else workers - 1)
    ordered: list[Item] = []
    ends = 0
    for number in range(workers):
        ends += (len(items) - ends) // (workers - number)
        ordered += shares[number] if number < len(shares) else []
        taken = max(0, ends - len(ordered))
        ordered += short[:taken]
        short = short[taken:]
    return ordered


def _group_of(name: str) -> str:
    return next((group for group in MINUTES if name.startswith(group)), name.partition("::")[0])


def _dealt(groups: dict[str, list[Item]], num_shares: int) -> list[list[Item]]:
    """Give each group, the longest first, to the share that has the fewest minutes yet."""
    shares: list[list[Item]] = [[] for _ in range(num_shares)]
    minutes = [0] * num_shares
    for group in sorted(groups, key=lambda group: -MINUTES.get(group, _OTHER_MINUTES)):
        least = minutes.index(min(minutes))
        shares[least] += groups[group]
        minutes[least] += MINUTES.get(group, _OTHER_MINUTES)
    return shares

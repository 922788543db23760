"""One at a time: a second opener is refused by name, and what another process wrote is seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client.ledger.ledgers import essence, opened, reserve, steps

from fedward_client.ledger.ledger_file import forget_what_was_verified
from fedward_common.errors import LockedError


def test_a_second_opener_is_refused_by_name_and_the_first_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        with pytest.raises(LockedError, match="privacy ledger"):
            opened(tmp_path)
        reserve(ledger)
    with opened(tmp_path) as ledger:
        assert ledger.has_reserved("run1")


def test_another_process_is_refused_by_name(tmp_path: Path, project_root: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from fedward_common.errors import LockedError\n"
        "from tests.client.ledger.ledgers import opened\n"
        "try:\n"
        "    opened(pathlib.Path(sys.argv[1])).close()\n"
        "except LockedError as error:\n"
        "    print(error.code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root)}

    def other_process_says() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True, text=True, check=True, timeout=60, env=environment,
        ).stdout.strip()  # fmt: skip

    with opened(tmp_path):
        assert other_process_says() == "LOCKED"
    assert other_process_says() == ""


def test_what_another_process_wrote_is_seen_and_so_is_what_this_one_knew(
    tmp_path: Path, project_root: Path
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1")
        first = ledger.accounts
    program = (
        "import pathlib, sys\n"
        "from tests.client.ledger.ledgers import opened, reserve, steps\n"
        "with opened(pathlib.Path(sys.argv[1])) as ledger:\n"
        "    ledger.begin_round('run1', 1, 1, steps(3))\n"
        "    reserve(ledger, 'run2')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root)}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60, env=environment
    )
    with opened(tmp_path) as ledger:
        ledger.begin_round("run1", 2, 1, steps(3))
        found = essence(ledger)
    assert [one["begun"] for one in found] == [[(1, 1), (2, 1)], []]
    assert not first.runs["run1"].begun  # what was closed does not change any more
    forget_what_was_verified()
    with opened(tmp_path) as ledger:
        assert essence(ledger) == found

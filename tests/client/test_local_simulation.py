"""What a simulation reads of the sites' own records."""

import json
from pathlib import Path

import pytest

from fedward_client.local_simulation import seconds_of_run

ENTRIES = [
    json.dumps({"round": 1, "attempt": 1, "training_seconds": 1.0, "evaluation_seconds": 0.25}),
    json.dumps({"round": 2, "attempt": 1, "training_seconds": 2.0, "evaluation_seconds": 0.5}),
    json.dumps({"round": 3, "attempt": 1, "training_seconds": 4.0, "evaluation_seconds": 1.0}),
]


def seconds_of(home: Path, text: str) -> dict[str, float]:
    folder = home / "runs" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "activity.jsonl").write_text(text)
    return seconds_of_run(home, "run")


def test_a_site_that_did_nothing_needed_no_seconds(tmp_path: Path) -> None:
    assert seconds_of_run(tmp_path, "run") == {"training": 0.0, "evaluation": 0.0}


def test_the_seconds_of_all_entries_are_added(tmp_path: Path) -> None:
    seconds = seconds_of(tmp_path, "\n".join(ENTRIES) + "\n")
    assert seconds == {"training": 7.0, "evaluation": 1.75}


@pytest.mark.parametrize("kept", range(len(ENTRIES[1]) + 1))
def test_an_entry_cut_short_anywhere_costs_itself_and_not_the_next(
    tmp_path: Path, kept: int
) -> None:
    seconds = seconds_of(tmp_path, f"{ENTRIES[0]}\n{ENTRIES[1][:kept]}{ENTRIES[2]}\n")
    whole = kept == len(ENTRIES[1])
    assert seconds == {"training": 7.0 if whole else 5.0, "evaluation": 1.75 if whole else 1.25}

"""`fedward-site ledger ...` as a person runs it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Ended, Site
from tests.client.ledger.ledgers import StillClock, patients, steps

from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.site_home import SiteHome, create_site_home
from fedward_client.site_policy import read_policy
from fedward_common.privacy.disclosures import Unbounded

SIGNED = ["--first", "head of radiology", "--second", "data protection officer"]
CLOCK = StillClock(2020)  # behind the machine's


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return create_site_home(tmp_path / "home", split_key=bytes(32))


@pytest.fixture
def spent(home: SiteHome) -> SiteHome:
    """Two runs on two cohorts that share a patient."""
    caps = read_policy(home).caps()
    with open_ledger(home, CLOCK) as ledger:
        for run, cohort, numbers in (("run1", "chest", range(9)), ("run2", "hip", range(8, 12))):
            ledger.reserve(run, "find it", cohort, patients(numbers), (steps(4, 4.0),), caps)
            ledger.begin_round(run, 1, 1, steps(2, 4.0))
            ledger.commit_round(run, 1, 1)
        ledger.release("run2")
    return home


def ledger(site: Site, home: SiteHome, *words: str) -> Ended:
    return site(["ledger", *words, "--home", str(home.folder)])


def told(site: Site, home: SiteHome, *words: str) -> Any:
    ended = ledger(site, home, *words, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_it_shows_every_run_and_in_the_last_line_the_most_that_any_patient_spent(
    site: Site, spent: SiteHome
) -> None:
    shown = ledger(site, spent)
    assert shown.code == 0, shown.err
    for word in ("purpose", "find it", "chest", "hip", "run1", "run2", "9", "4", "1e-05"):
        assert word in shown.out
    last = shown.out.strip().splitlines()[-1]
    found = told(site, spent)
    assert last.startswith("The most that any patient has spent: epsilon ")
    assert f"{found['most_spent']:.3f}" in last
    assert "at delta 1e-05" in last


@pytest.mark.parametrize("columns", [80, 120])
def test_no_word_or_figure_is_cut_off_where_a_terminal_has_80_columns_or_more(
    site: Site, home: SiteHome, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    run = "0123456789abcdef" * 2
    purpose = "Detect pneumonia on frontal chest radiographs of children"
    home.policy_file.write_text("[privacy]\nunbounded_training = true\n")
    caps = read_policy(home).caps()
    with open_ledger(home, CLOCK) as opened:
        opened.reserve(run, purpose, "chest", patients(range(4708)), (steps(4, 4.0),), caps)
        opened.begin_round(run, 1, 1, steps(2, 4.0), "device")
        plain = Unbounded("no mechanism")
        opened.reserve("r2", "x", "hip", patients([5000]), (plain,), caps)
        opened.begin_round("r2", 1, 1, plain)
        opened.release("r2")
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = ledger(site, home).out
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= columns
    assert "…" not in shown
    for word in ("patients", "spent", "reserved", "left", "state", "4708", "no bound", "released"):
        assert word in shown
    assert run in lines
    assert "noise from the GPU (weaker)" in lines
    assert all(word in shown for word in purpose.split())
    figures = told(site, home)["runs"][0]
    assert figures["noise_drawn_on"] == "device"
    (first,) = [line for line in lines if "4708" in line]
    for key in ("epsilon_spent", "epsilon_reserved", "epsilon_left"):
        assert f"{figures[key]:.3f}" in first


def test_its_json_has_the_same_figures(site: Site, spent: SiteHome) -> None:
    found = told(site, spent)
    first, second = found["runs"]
    assert first["run"] == "run1"
    assert first["num_patients"] == 9
    assert 0 < first["epsilon_spent"] == second["epsilon_spent"]
    assert first["epsilon_reserved"] > second["epsilon_reserved"] == 0
    assert 0 < first["epsilon_left"] == second["epsilon_left"] < 10
    # Patient 8 is in both, and has spent more than in either, less than the two added up.
    assert first["epsilon_spent"] < found["most_spent"] < 2 * first["epsilon_spent"]
    assert found["most_spent"] < found["most_charged"] < 10
    assert (found["delta"], found["epsilon_total"], found["window"]) == (1e-5, 10.0, "none")


def test_one_cohort_alone_can_be_asked_for(site: Site, spent: SiteHome) -> None:
    assert [one["run"] for one in told(site, spent, "hip")["runs"]] == ["run2"]
    assert [one["run"] for one in told(site, spent, "show", "chest")["runs"]] == ["run1"]
    unknown = ledger(site, spent, "knee")
    assert unknown.code == 2
    assert "'knee'" in unknown.error


def test_a_site_that_never_trained_has_spent_nothing_and_gets_no_ledger(
    site: Site, home: SiteHome
) -> None:
    assert "nothing is spent" in ledger(site, home).out
    assert "nothing is spent" in ledger(site, home, "verify").out
    assert told(site, home) == {"runs": [], "most_spent": 0.0, "entries": 0}
    assert not home.ledger.exists()


def test_what_has_no_bound_is_called_so_and_is_null_in_json(site: Site, home: SiteHome) -> None:
    home.policy_file.write_text("[privacy]\nunbounded_training = true\n")
    with open_ledger(home, CLOCK) as opened:
        plain = (Unbounded("no mechanism"),)
        opened.reserve("r", "p", "c", patients([1]), plain, read_policy(home).caps())
        opened.begin_round("r", 1, 1, *plain)
    assert "spent: epsilon no bound" in ledger(site, home).out
    found = told(site, home)
    assert (found["most_spent"], found["runs"][0]["epsilon_spent"]) == (None, None)


def test_a_name_from_a_job_draws_nothing_on_the_terminal(site: Site, home: SiteHome) -> None:
    with open_ledger(home, CLOCK) as opened:
        caps = read_policy(home).caps()
        opened.reserve("r", "[red]x\x1b[2J", "c", patients([1]), (steps(1, 9.0),), caps)
    shown = ledger(site, home).out
    assert "\x1b" not in shown
    assert "[red]x" in shown


def test_a_sound_ledger_is_verified(site: Site, spent: SiteHome) -> None:
    assert "sound: 8 entries, 2 runs" in ledger(site, spent, "verify").out
    found = told(site, spent, "verify")
    assert (found["sound"], found["entries"], len(found["head"])) == (True, 8, 64)


def cut(home: SiteHome) -> None:
    entries = home.ledger / "entries.jsonl"
    lines = entries.read_bytes().splitlines(keepends=True)
    entries.write_bytes(b"".join(lines[:-1]))


def test_a_cut_ledger_is_told_with_what_to_do_and_an_override_begins_a_new_one(
    site: Site, spent: SiteHome
) -> None:
    cut(spent)
    for words in ([], ["verify"]):
        ended = ledger(site, spent, *words)
        assert ended.code == 1
        assert "7 whole lines, 8 were written" in ended.error
        assert "fedward-site ledger override" in ended.err
    done = ledger(site, spent, "override", *SIGNED, "--reason", "power cut")
    assert done.code == 0, done.err
    assert "Every patient of this site counts as having no bound left" in done.out
    shown = ledger(site, spent)
    assert "overridden 1 times" in shown.out
    assert told(site, spent, "verify")["entries"] == 2


def test_an_override_with_a_number_counts_it_for_everybody(site: Site, spent: SiteHome) -> None:
    cut(spent)
    ended = ledger(site, spent, "override", *SIGNED, "--reason", "x", "--assume-epsilon", "4")
    assert "spent epsilon 4" in ended.out
    caps = read_policy(spent).caps()
    with open_ledger(spent, StillClock(2090)) as opened:
        opened.reserve("r", "p", "c", patients([77]), (steps(1, 20.0),), caps)
    assert 4 < told(site, spent)["most_charged"] < 5


@pytest.mark.parametrize(
    "words",
    [
        ["--first", "one", "--second", "ONE", "--reason", "x"],
        ["--first", "one", "--reason", "x"],
        [*SIGNED, "--reason", ""],
        [*SIGNED, "--reason", "x", "--assume-epsilon", "0"],
    ],
    ids=["one person", "nobody else", "no reason", "no epsilon"],
)
def test_an_override_that_is_not_signed_by_two_with_a_reason_changes_nothing(
    site: Site, spent: SiteHome, words: list[str]
) -> None:
    cut(spent)
    before = (spent.ledger / "entries.jsonl").read_bytes()
    assert ledger(site, spent, "override", *words).code == 2
    assert (spent.ledger / "entries.jsonl").read_bytes() == before


def test_a_sound_ledger_is_not_overridden(site: Site, spent: SiteHome) -> None:
    ended = ledger(site, spent, "override", *SIGNED, "--reason", "more budget")
    assert ended.code == 2
    assert "sound" in ended.error


def test_a_ledger_in_use_is_named(site: Site, spent: SiteHome) -> None:
    with open_ledger(spent, CLOCK):
        ended = ledger(site, spent)
    assert ended.code == 1
    assert "in use" in ended.error


@pytest.mark.parametrize("words", [[], ["show"], ["verify"], ["override"]])
def test_help_shows_an_example(site: Site, words: list[str]) -> None:
    ended = site(["ledger", *words, "--help"])
    assert ended.code == 0
    assert "Example: fedward-site ledger" in ended.out

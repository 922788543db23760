"""No two reports that a home shows can be differenced by fewer than ten people."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital, read_json
from tests.client.conftest import Site

from fedward_client.cohorts.finding_codes import CODE_MEANINGS
from fedward_client.cohorts.reports.shown_reports import (
    E_REPORT_TOO_ALIKE,
    Members,
    ShownReport,
    read_shown,
    standing_report,
    write_shown,
)
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import CohortError, CorruptFileError

people = st.frozensets(st.integers(0, 30), min_size=1)
few_people = st.sampled_from([frozenset(range(20)), frozenset(range(21)), frozenset(range(31))])
labels = st.sampled_from(["", "10 to 19", "20 to 49"])
steps = st.lists(st.tuples(st.sampled_from("abc"), people | few_people, labels), max_size=8)
Step = tuple[str, frozenset[int], str]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def members(units: frozenset[int], persons: frozenset[int] | None = None) -> Members:
    return Members(frozenset(map(str, units)), frozenset(map(str, persons or units)))


def new_report(name: str, number: int, of: Members, **tables: dict[str, str]) -> ShownReport:
    report = {
        "cohort": name,
        "fingerprint": f"{name}-{number}",
        "units": len(of.units),
        "flow": {"used": len(of.units)},
        "tables": {"sex": {"F": "10 to 19"}, **tables},
        "spacing_mm": {},
    }
    return ShownReport(f"{name}@{number}", report, of)


def show(shown: list[ShownReport], new: ShownReport) -> ShownReport | None:
    """What the command does; None where it refuses."""
    try:
        standing = standing_report(shown, new)
    except CohortError as error:
        assert error.code == E_REPORT_TOO_ALIKE
        return None
    if standing is None:
        shown.append(new)
    return standing or new


@given(steps=steps)
@settings(max_examples=200, deadline=None)
def test_whatever_is_asked_no_two_reports_differ_by_one_to_nine_people(steps: list[Step]) -> None:
    shown: list[ShownReport] = []
    for number, (name, who, label) in enumerate(steps, start=1):
        tables = {"label": {"normal": label}} if label else {}
        answer = show(shown, new_report(name, number, members(who), **tables))
        assert answer is None or answer.cohort == name
    for one, other in itertools.combinations(shown, 2):
        differing = len(one.members.units ^ other.members.units)
        assert differing >= 10 or (differing == 0 and one.is_nested_with(other))
        assert differing >= 10 or one.cohort != other.cohort


@given(who=people, newcomers=st.lists(st.integers(31, 60), min_size=1, max_size=9, unique=True))
def test_who_comes_one_by_one_is_seen_only_among_ten(
    who: frozenset[int], newcomers: list[int]
) -> None:
    shown: list[ShownReport] = []
    first = show(shown, new_report("a", 1, members(who)))
    for number, newcomer in enumerate(newcomers, start=2):
        who |= {newcomer}
        assert show(shown, new_report("a", number, members(who))) is first
    assert len(shown) == 1


def test_going_there_and_back_shows_nobody() -> None:
    shown: list[ShownReport] = []
    start, more = frozenset(range(30)), frozenset(range(100, 110))
    first = show(shown, new_report("a", 1, members(start)))
    assert show(shown, new_report("a", 2, members(start | more))) is not first
    assert show(shown, new_report("a", 3, members(start | {200}))) is first


@pytest.mark.parametrize(
    ("units", "persons"),
    [(range(100, 130), range(31)), (range(31), range(100, 130))],
    ids=["units have other names", "headers have other names"],
)
def test_other_names_make_no_other_people(units: range, persons: range) -> None:
    shown: list[ShownReport] = []
    first = show(shown, new_report("a", 1, members(frozenset(range(30)))))
    renamed = members(frozenset(units), frozenset(persons))
    assert show(shown, new_report("a", 2, renamed)) is first
    assert show(shown, new_report("b", 1, renamed)) is None


def test_the_same_people_may_be_shown_with_masks_and_with_labels_but_not_with_two_labels() -> None:
    shown: list[ShownReport] = []
    same = members(frozenset(range(30)))
    masks = new_report("masks", 1, same)
    assert show(shown, masks) is masks
    labels = new_report("labels", 1, same, label={"normal": "10 to 19"})
    assert show(shown, labels) is labels
    assert show(shown, new_report("moved", 1, same, label={"normal": "20 to 49"})) is None
    assert show(shown, new_report("other", 1, same, finding={"normal": "10 to 19"})) is None


def register(site: Site, hospital: Hospital, name: str, *more: str) -> None:
    assert site(hospital.add_arguments(name, *more)).code == 0


def ask(site: Site, hospital: Hospital, name: str) -> str:
    ended = site(["cohort", "report", name, "--home", str(hospital.home), "--json"])
    assert ended.code in (0, 1), ended.err
    return ended.err if ended.code else str(read_json(ended.out)["cohort"])


@pytest.mark.parametrize("more", [(), ("--unit", "image")], ids=["patients", "images"])
def test_the_same_patients_under_another_name_get_no_second_report(
    site: Site, hospital: Hospital, more: tuple[str, ...]
) -> None:
    hospital.patients(range(30))
    register(site, hospital, "one")
    assert ask(site, hospital, "one") == "one"
    hospital.rows[0]["label"] = "1"
    hospital.patients([30])
    register(site, hospital, "one-more", *more)
    hospital.patients(range(31, 39))
    register(site, hospital, "nine-more", *more)
    for name in ("one-more", "nine-more"):
        refused = ask(site, hospital, name)
        assert f"{name}@1 is of nearly the same people as one@1" in refused
        assert "NEEDLE" not in refused
    hospital.patients([39])
    register(site, hospital, "ten-more", *more)
    assert ask(site, hospital, "ten-more") == "ten-more"
    assert ask(site, hospital, "one") == "one"


def test_a_cohort_that_was_deleted_by_hand_is_not_forgotten(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(30))
    register(site, hospital, "one")
    before = ask(site, hospital, "one")
    (hospital.home / "cohorts/one").rename(hospital.folder / "gone")
    hospital.patients([30])
    register(site, hospital, "one")
    assert ask(site, hospital, "one") == before
    register(site, hospital, "two")
    assert "nearly the same people" in ask(site, hospital, "two")


def test_what_is_kept_is_for_the_owner_alone_and_names_nobody(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    register(site, hospital, "one")
    ask(site, hospital, "one")
    folder = hospital.home / "shown_reports"
    assert folder.stat().st_mode & 0o077 == 0
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"NEEDLE" not in file.read_bytes()
    assert (len(read_shown(SiteHome(hospital.home))[0].members.persons)) == 12


def test_what_was_shown_is_read_again_as_it_was(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "home", split_key=bytes(32))
    shown = [new_report("a", n, members(frozenset(range(n, 20 * n)))) for n in (1, 2)]
    for number, one in enumerate(shown, start=1):
        write_shown(home, number, one)
    assert read_shown(home) == tuple(shown)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema": "fedward-shown-report/1"}', None])
def test_without_a_report_that_was_shown_no_other_is_made(
    site: Site, hospital: Hospital, content: bytes | None
) -> None:
    hospital.patients(range(12))
    register(site, hospital, "one")
    ask(site, hospital, "one")
    path = hospital.home / "shown_reports/1.json"
    path.with_name("2.json").write_bytes(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"1\.json is missing or damaged"):
        read_shown(SiteHome(hospital.home))
    ended = site(["cohort", "report", "one", "--home", str(hospital.home)])
    assert ended.code == 1
    assert not (hospital.home / "shown_reports/3.json").exists()


def test_the_code_has_a_meaning() -> None:
    assert E_REPORT_TOO_ALIKE in CODE_MEANINGS

"""What a person is told when no site's data can be used."""

import json

from tests.e2e.conftest import Fedward, MakeWorkplace

NO_PICTURES = "--no-examples"


def test_the_very_problem_of_each_site_is_told_and_stays_in_its_report(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    for manifest in (work.folder / "data").glob("*.csv"):
        manifest.write_text(manifest.read_text().replace("label", "finding", 1))
    ended = fedward(work.simulate(NO_PICTURES))
    assert ended.code == 1
    assert "no site can train" in ended.err
    assert ended.err.count("has no column 'label'") == 3
    report = json.loads((work.out / "sites/alder/reports/cohort-main.json").read_text())
    assert report["code"] == "CONFIGURATION"
    assert "label" in report["problem"]


def test_a_number_of_sites_without_a_partition_is_refused(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    ended = fedward(make_workplace().simulate("--sites", "3"))
    assert ended.code == 2
    assert "--partition" in ended.err

from typing import Any

from fedward_server.reports.participation import (
    attendance,
    code_meaning,
    failure_groups,
    range_text,
)


def test_neighbouring_rounds_are_written_as_ranges() -> None:
    assert range_text([7, 1, 2, 3, 3]) == "1 to 3, 7"
    assert range_text([]) == ""


def test_a_site_that_missed_rounds_is_named_with_them(classification: dict[str, Any]) -> None:
    sites = {site.site: site for site in attendance(classification)}
    assert sites["hospA"].missed == ()
    assert (sites["hospB"].num_contributed, sites["hospB"].missed_text) == (147, "12, 40 to 41")


def test_a_participant_that_the_sites_table_does_not_name_is_counted_too() -> None:
    sites = attendance({"sites": {}, "participants": [["b", "a"], ["a"]]})
    assert [(site.site, site.num_contributed) for site in sites] == [("a", 2), ("b", 1)]


def test_failures_are_grouped_by_site_and_code(classification: dict[str, Any]) -> None:
    groups = failure_groups(classification)
    assert [(g.site, g.code, g.count, g.when_text) for g in groups] == [
        ("hospB", "TRAINING_FAILED", 2, "in rounds 40 to 41"),
        ("hospB", "NON_FINITE", 1, "in round 3"),
    ]
    assert groups[1].meaning


def test_round_0_is_called_the_acceptance() -> None:
    failures = [{"round": number, "site": "a", "code": "BATCH_TOO_LARGE"} for number in (0, 2, 3)]
    (first,) = failure_groups({"failures": failures[:1]})
    (all_of_them,) = failure_groups({"failures": failures})
    assert first.when_text == "at acceptance"
    assert all_of_them.when_text == "at acceptance and in rounds 2 to 3"
    assert "more patients than the site has" in first.meaning


def test_an_unknown_code_is_left_without_a_meaning() -> None:
    assert code_meaning("SOMETHING_NEW") == ""

from tests.common.job.job_tables import table_with

from fedward_common.job.job_file import job_from_table
from fedward_server.coordinator.counted_rounds import last_counted_rounds

SCAFFOLD = job_from_table(
    table_with({"strategy.name": "scaffold", "strategy.weighting": "uniform"})
)


def test_each_site_has_the_last_round_that_it_was_part_of() -> None:
    rounds = [["alder", "birch"], ["alder", "cedar"], ["cedar"]]
    sites = ["alder", "birch", "cedar", "dogwood"]
    assert last_counted_rounds(SCAFFOLD, rounds, sites) == {"alder": 2, "birch": 1, "cedar": 3}


def test_before_the_first_round_nobody_has_one() -> None:
    assert last_counted_rounds(SCAFFOLD, [], ["alder"]) == {}


def test_a_strategy_whose_sites_keep_nothing_names_none() -> None:
    job = job_from_table(table_with({}))
    assert last_counted_rounds(job, [["alder"]], ["alder"]) == {}

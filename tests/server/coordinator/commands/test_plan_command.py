"""`fedward plan`: figures that the run itself then has."""

import json
from pathlib import Path

import pytest
from tests.joint_federation import joint_job
from tests.server.coordinator.commands.conftest import FINISHED, SITES, Fedward, write_job
from tests.tiny_federation import changed, tiny_job

from fedward_common.job.job_file import Job
from fedward_server.coordinator.commands.plan_figures import (
    coordinator_memory_bytes,
    noise_by_size,
    round_bytes,
    sum_rules,
)
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.privacy_command import Schedule, noise_for_epsilon

MILLION = 1_000_000


def secure(*overrides: str) -> Job:
    return changed(tiny_job(), "secure_aggregation.enabled=true", *overrides)


def private(*overrides: str) -> Job:
    return changed(
        tiny_job(), "privacy.mechanism=per-site", "privacy.delta=1e-4", "privacy.epsilon=8.0",
        *overrides,
    )  # fmt: skip


def test_a_plan_needs_no_coordinator_and_writes_nothing(
    home: CoordinatorHome, fedward: Fedward, job_file: Path
) -> None:
    before = sorted(home.folder.rglob("*"))
    ended = fedward("plan", str(job_file), "--sites", "cedar,alder", "--json")
    assert ended.code == 0, ended.err
    plan = json.loads(ended.out)
    assert sorted(home.folder.rglob("*")) == before
    assert plan["training_sites"] == ["alder", "cedar"]
    assert plan["evaluating_sites"] == ["birch"]
    assert plan["num_parameters"] == view_of(home, FINISHED).manifest.num_parameters
    assert (plan["rounds"], plan["evaluated_every_rounds"]) == (4, 2)
    assert plan["quorum"]["required_sites"] == 2
    assert plan["secure_aggregation"] is None
    assert plan["privacy"]["by_site_size"] == []


def test_a_person_reads_what_a_round_costs_and_that_nothing_is_hidden(
    fedward: Fedward, job_file: Path
) -> None:
    text = fedward("plan", str(job_file), "--sites", SITES).out
    assert "OFF: the coordinator sees each site's update" in text
    assert "No differential privacy" in text
    assert "a site sends a round" in text
    assert "every 2 rounds" in text


def test_a_private_masked_plan_shows_thresholds_and_noise(fedward: Fedward, tmp_path: Path) -> None:
    job = changed(private(), "secure_aggregation.enabled=true")
    file = write_job(tmp_path / "private.toml", job)
    text = fedward("plan", str(file), "--sites", SITES).out
    assert "a sum of 3 sites needs 3 to the end, so 0 may leave" in text
    assert "of keys and shares" in text
    assert "DELTA_TOO_LARGE" in text
    assert "Privacy per-site, delta 0.0001" in text


@pytest.mark.parametrize(
    ("job", "down", "up"),
    [
        (changed(tiny_job(), "strategy.ema_decay=0.0"), 4.0, 4.0),
        (joint_job(), 4.0, 8.0),
        (secure("strategy.ema_decay=0.0"), 4.0, 4.0),
        (secure("strategy.ema_decay=0.0", "secure_aggregation.bits=24"), 4.0, 3.0),
    ],
)
def test_vectors_of_a_round_are_reckoned_to_the_byte(job: Job, down: float, up: float) -> None:
    plain = round_bytes(job, 5, MILLION, evaluates=False)
    lane = 24 if job.secure_aggregation.enabled else 0
    assert (plain.down, plain.up) == (down * MILLION, up * MILLION + lane)
    evaluating = round_bytes(job, 5, MILLION, evaluates=True)
    assert evaluating.down == plain.down
    assert evaluating.up > plain.up


def test_a_moving_average_comes_down_where_it_is_evaluated() -> None:
    assert round_bytes(tiny_job(), 3, MILLION, evaluates=True).down == 8 * MILLION
    assert round_bytes(tiny_job(), 3, MILLION, evaluates=False).down == 4 * MILLION


# docs/SECURE_AGGREGATION.md, "Bytes of a round", in MB beside a model of 4 MB.
@pytest.mark.parametrize(
    ("num_sites", "up", "down"),
    [(3, 0.01, 0.02), (10, 0.03, 0.06), (50, 0.13, 0.37), (100, 0.26, 0.92)],
)
def test_the_protocols_own_bytes_are_about_those_of_the_page(
    num_sites: int, up: float, down: float
) -> None:
    reckoned = round_bytes(secure(), num_sites, MILLION, evaluates=False)
    assert reckoned.protocol_up / 1e6 == pytest.approx(up, rel=0.05, abs=0.005)
    assert reckoned.protocol_down / 1e6 == pytest.approx(down, rel=0.05, abs=0.005)


def test_a_sum_of_ten_needs_seven() -> None:
    rules = sum_rules(secure(), 10)
    assert rules is not None
    assert (rules.threshold, rules.dropouts_tolerated, rules.largest_coalition) == (7, 3, 3)
    assert sum_rules(tiny_job(), 10) is None


def test_memory_grows_with_what_the_strategy_keeps() -> None:
    plain = changed(tiny_job(), "strategy.ema_decay=0.0")
    assert coordinator_memory_bytes(plain, 4, MILLION) == 4 * 4 * MILLION  # momentum is the fourth
    assert coordinator_memory_bytes(tiny_job(), 4, MILLION) == 5 * 4 * MILLION
    median = changed(
        plain,
        "strategy.name=median",
        "strategy.momentum=0.0",
        "strategy.weighting=uniform",
        "quorum.required_sites=3",
    )
    assert coordinator_memory_bytes(median, 9, MILLION) == (2 + 9) * 4 * MILLION


def test_noise_is_that_of_the_command_fedward_noise() -> None:
    (small, large, larger) = noise_by_size(private(), 3, 1000, (3, 500, 2000))
    known = noise_for_epsilon(Schedule(500, 4, 8, 1e-4), 8.0)
    assert (large.noise_multiplier, large.epsilon) == (known.noise_multiplier, known.epsilon)
    assert large.sampling_rate == 4 / 500
    assert (small.refused_with, small.epsilon) == ("BATCH_TOO_LARGE", None)
    assert larger.refused_with == "DELTA_TOO_LARGE"


def test_a_joint_run_has_one_noise_for_sites_of_any_size() -> None:
    rows = noise_by_size(joint_job(), 4, 1000, (100, 500))
    assert rows[0].noise_multiplier == rows[1].noise_multiplier
    assert rows[0].epsilon == rows[1].epsilon is not None

"""Ways to spend more than was allowed, by a coordinator or by hand: each is refused by name."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.client.daemon.test_private_rounds import PRIVATE, account_of, coordinator_of

from fedward_client.daemon import site_state
from fedward_common.errors import FedwardError
from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

POLICY = "epsilon_per_job = 5.0\nepsilon_total = 5.0\ndelta_total = 1e-4\n"


def accepted(folder: Path, *overrides: str, policy: str = "", real: bool = True) -> Coordinator:
    """A site that has trained one private round."""
    coordinator = coordinator_of(folder, *PRIVATE, *overrides, policy=policy, real=real)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    assert isinstance(coordinator.train().message, messages.TrainReply)
    return coordinator


def home_of(coordinator: Coordinator) -> Path:
    return coordinator.federation.homes[SITE]


def run_of(coordinator: Coordinator) -> Path:
    return home_of(coordinator) / "runs" / coordinator.setup.manifest.run


def code_of(answer: Answered) -> str:
    assert isinstance(answer.message, messages.Refusal)
    return answer.message.code


def rounds_begun(coordinator: Coordinator) -> int:
    account = account_of(coordinator)
    return 0 if account is None else len(account.begun)


# -- by hand, in the middle of a run ---------------------------------------------------------------


def with_less_noise(plan: Path) -> None:
    table = json.loads(plan.read_bytes())
    plan.write_text(json.dumps(table | {"noise_multiplier": table["noise_multiplier"] / 2}))


def with_another_rate(plan: Path) -> None:
    table = json.loads(plan.read_bytes())
    plan.write_text(json.dumps(table | {"sampling_rate": table["sampling_rate"] / 2}))


def with_no_number(plan: Path) -> None:
    table = json.loads(plan.read_bytes())
    plan.write_text(json.dumps(table | {"noise_multiplier": math.nan}))


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_less_noise, "BUDGET_EXCEEDED"),
        (with_another_rate, "BUDGET_EXCEEDED"),
        (with_no_number, "CORRUPT_FILE"),
        (Path.unlink, "CORRUPT_FILE"),
    ],
)
def test_a_plan_that_was_edited_or_taken_away_trains_nothing(
    tmp_path: Path, change: Callable[[Path], None], code: str, real: bool
) -> None:
    coordinator = accepted(tmp_path, real=real)
    change(run_of(coordinator) / "privacy.json")
    site_state.forget_open_sites()
    assert code_of(coordinator.train(subject=coordinator.subject(2))) == code
    assert rounds_begun(coordinator) == 1


@pytest.mark.parametrize("name", ["ledger/patients", "ledger/entries.jsonl", "ledger_begun.json"])
def test_a_run_does_not_go_on_without_a_part_of_its_ledger(tmp_path: Path, name: str) -> None:
    coordinator = accepted(tmp_path)
    path = home_of(coordinator) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    site_state.forget_open_sites()
    assert code_of(coordinator.train(subject=coordinator.subject(2))) == "LEDGER_DAMAGED"


def forget_run(coordinator: Coordinator) -> None:
    """Delete everything of the run but what the ledger has, and start the site again."""
    shutil.rmtree(run_of(coordinator))
    site_state.forget_open_sites()


def test_a_run_whose_folder_is_gone_is_charged_on_and_has_no_second_reservation(
    tmp_path: Path,
) -> None:
    coordinator = accepted(tmp_path)
    for attempt in range(2, 5):
        forget_run(coordinator)
        assert isinstance(coordinator.propose().message, messages.ManifestReply)
        asked = coordinator.subject(1, attempt=attempt)
        assert isinstance(coordinator.train(subject=asked).message, messages.TrainReply)
    forget_run(coordinator)
    coordinator.propose()
    asked = coordinator.subject(1, attempt=5)
    assert code_of(coordinator.train(subject=asked)) == "BUDGET_EXCEEDED"
    assert rounds_begun(coordinator) == 4


def with_job_of(coordinator: Coordinator, folder: Path, *overrides: str) -> Coordinator:
    """The same run at the same site, with another job."""
    other = coordinator_of(folder, *overrides)
    mine = decode_canonically(coordinator.setup.manifest_bytes)
    job = decode_canonically(other.setup.manifest_bytes)["job_table"]
    return with_manifest(coordinator, encode_canonically(mine | {"job_table": job}))


def with_manifest(coordinator: Coordinator, manifest_bytes: bytes) -> Coordinator:
    setup = dataclasses.replace(coordinator.setup, manifest_bytes=manifest_bytes)
    return dataclasses.replace(coordinator, setup=setup)


def test_a_run_that_was_reserved_with_noise_does_not_come_back_without_it(tmp_path: Path) -> None:
    coordinator = accepted(tmp_path, real=False)  # whose policy allows training without noise
    for overrides in ((), (*PRIVATE, "privacy.epsilon=8.0"), (*PRIVATE, "job.rounds=2")):
        forget_run(coordinator)
        other = with_job_of(coordinator, tmp_path / str(overrides), *overrides)
        assert code_of(other.propose()) == "RUN_ALREADY_RESERVED"
        assert code_of(other.train()) == "UNKNOWN_RUN"
    assert rounds_begun(coordinator) == 1


def test_a_cap_that_is_raised_in_the_middle_of_a_run_gives_the_run_nothing_more(
    tmp_path: Path,
) -> None:
    coordinator = accepted(tmp_path, policy=POLICY)
    (home_of(coordinator) / "policy.toml").write_text("[privacy]\nepsilon_total = 1000.0\n")
    for attempt in range(2, 5):
        (run_of(coordinator) / "update.json").unlink()  # a crash before the answer was kept
        asked = coordinator.subject(1, attempt=attempt)
        assert isinstance(coordinator.train(subject=asked).message, messages.TrainReply)
    (run_of(coordinator) / "update.json").unlink()
    asked = coordinator.subject(1, attempt=5)
    assert code_of(coordinator.train(subject=asked)) == "BUDGET_EXCEEDED"


def test_a_policy_that_cannot_be_read_any_more_stops_the_next_round(tmp_path: Path) -> None:
    coordinator = accepted(tmp_path)
    (home_of(coordinator) / "policy.toml").write_text("[privacy]\nepsilon_totl = 3\n")
    assert code_of(coordinator.train(subject=coordinator.subject(2))) == "CONFIGURATION"
    assert rounds_begun(coordinator) == 1


def test_a_clock_that_was_set_back_stops_the_next_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = accepted(tmp_path)
    monkeypatch.setattr(
        "fedward_client.ledger.utc_clock.SystemUtcClock.utc_now",
        lambda _: datetime(2020, 1, 1, tzinfo=UTC),
    )
    assert code_of(coordinator.train(subject=coordinator.subject(2))) == "CLOCK_SET_BACK"


# -- two at once -----------------------------------------------------------------------------------


def test_two_runs_that_each_fit_are_not_both_accepted_though_neither_has_trained(
    tmp_path: Path,
) -> None:
    first = coordinator_of(tmp_path, *PRIVATE, policy=POLICY, real=True)
    second = dataclasses.replace(first, setup=first.federation.set_up(tmp_path / "second"))
    assert isinstance(first.propose().message, messages.ManifestReply)
    assert code_of(second.propose()) == "BUDGET_EXCEEDED"
    assert code_of(second.train()) == "UNKNOWN_RUN"


# -- what a job may say ----------------------------------------------------------------------------

WRONG: list[tuple[str, Any]] = [
    ("privacy.epsilon", math.nan),
    ("privacy.epsilon", math.inf),
    ("privacy.epsilon", 0.0),
    ("privacy.epsilon", -1.0),
    ("privacy.epsilon", 1e300),
    ("privacy.epsilon", 10**400),
    ("privacy.epsilon", True),
    ("privacy.epsilon", "8"),
    ("privacy.epsilon", None),
    ("privacy.delta", math.nan),
    ("privacy.delta", 0.0),
    ("privacy.delta", 1.0),
    ("privacy.delta", -1e-5),
    ("privacy.delta", False),
    ("privacy.delta", None),
    ("privacy.noise_multiplier", 1.0),
    ("privacy.clipping_norm", math.nan),
    ("privacy.clipping_norm", 0.0),
    ("privacy.clipping_norm", 1e300),
    ("privacy.mechanism", "pre-site"),
    ("privacy.mechanism", None),
    ("privacy.augmentation_multiplicity", 0),
    ("training.batch_patients", 13),
    ("training.batch_patients", 0),
    ("training.batch_patients", -4),
    ("training.batch_patients", 2**62),
    ("training.batch_patients", 4.5),
    ("training.sampling_rate", 0.5),
    ("training.local_steps", 0),
    ("training.local_steps", 2**62),
    ("job.rounds", 0),
    ("job.rounds", 2**62),
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return coordinator_of(tmp_path_factory.mktemp("asked"), *PRIVATE, real=True)


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda one: str(one)[:20])
def test_a_manifest_with_a_number_that_bounds_nothing_reserves_nothing(
    asked: Coordinator, key: str, value: Any
) -> None:
    plain = decode_canonically(asked.setup.manifest_bytes)
    table = decode_canonically(plain["job_table"])
    section, name = key.split(".")
    if value is None:
        del table[section][name]
    else:
        table[section][name] = value
    try:
        forged = encode_canonically(plain | {"job_table": encode_canonically(table)})
    except (FedwardError, OverflowError, ValueError):
        return  # no message can even say it
    answer = with_manifest(asked, forged).propose()
    assert isinstance(answer.message, messages.Refusal) or answer.error
    assert account_of(asked) is None
    code = answer.message.code if isinstance(answer.message, messages.Refusal) else answer.error
    assert code not in ("INTERNAL_ERROR", "FAILED")

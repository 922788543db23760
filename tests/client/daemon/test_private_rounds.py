"""A private round at a site: refused before it trains, charged once, answered once."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.tiny_federation import TinyFederation, make_federation, tiny_job

from fedward_client.daemon import site_state
from fedward_client.daemon.privacy_plan import read_plan
from fedward_client.ledger.accounts import RunAccount
from fedward_client.ledger.charges import count_of
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_client.training.private_training import PrivateOutcome, PrivateRound
from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import SampledGaussian, Unbounded
from fedward_common.wire import messages
from fedward_server.simulation.federation import set_up

PRIVATE = (
    "privacy.mechanism=per-site", "privacy.epsilon=4.0", "privacy.delta=1e-4",
)  # fmt: skip


def coordinator_of(
    folder: Path, *overrides: str, policy: str = "", real: bool = False
) -> Coordinator:
    """Give a coordinator of a new federation; `policy` replaces the site's."""
    federation: TinyFederation = make_federation(
        folder / "federation", tiny_job(overrides=overrides)
    )
    federation = dataclasses.replace(federation, seals_answers=real)
    home = federation.homes[SITE]
    if policy:
        text = f"[privacy]\n{policy}\n[secure_aggregation]\nrequired = false\n"
        text += '[jobs]\napproval = "within-policy"\n'
        (home / "policy.toml").write_text(text)
    if real:
        settings = (home / "site.toml").read_text()
        (home / "site.toml").write_text(settings.replace("simulated = true\n", ""))
    site_state.forget_open_sites()
    setup = federation.set_up(folder / "run")
    return Coordinator(federation, setup, setup.key)


def account_of(coordinator: Coordinator) -> RunAccount | None:
    home = SiteHome(coordinator.federation.homes[SITE])
    with open_ledger(home, SystemUtcClock()) as ledger:
        return ledger.accounts.runs.get(coordinator.setup.manifest.run)


def refusal_of(coordinator: Coordinator) -> str:
    answer = coordinator.propose()
    assert isinstance(answer.message, messages.Refusal)
    assert account_of(coordinator) is None
    return answer.message.code


def test_a_run_is_reserved_whole_when_it_is_accepted(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    account = account_of(coordinator)
    assert account is not None
    (planned,) = account.reserved.planned
    assert isinstance(planned, SampledGaussian)
    assert planned.num_steps == 4 * 2  # of the whole run, not of a round
    assert planned.sampling_rate == 4 / 12
    assert account.reserved.num_patients == 12
    assert account.begun == {}


def test_a_round_is_charged_before_it_trains_and_its_update_is_noisy(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    update = coordinator.train().arrays["update"]
    assert update.shape == coordinator.weights.shape
    assert np.count_nonzero(update) == update.size  # noise reaches every weight
    account = account_of(coordinator)
    assert account is not None
    assert list(account.begun) == [(1, 1)]
    assert account.committed == {(1, 1)}
    assert sum(count_of(one) for one in account.spent) == 2


def test_the_ledger_says_of_each_round_where_its_noise_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU, as far as the ledger: the policy is read for every round."""
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    coordinator.train()
    policy = coordinator.federation.homes[SITE] / "policy.toml"
    text = policy.read_text().replace("[privacy]\n", "[privacy]\ndevice_noise = true\n")
    policy.write_text(text)
    coordinator.train(subject=coordinator.subject(2))  # a processor trains: nothing changes
    cuda = torch.device("cuda")
    asked: list[object] = []

    def train(*arguments: object) -> PrivateOutcome:
        asked.extend(arguments[-3:])
        return PrivateOutcome(2, 0.0, 1.0)

    monkeypatch.setattr("fedward_client.training.local_training.pick_device", lambda: cuda)
    monkeypatch.setattr("fedward_client.training.private_training.train_privately", train)
    coordinator.train(subject=coordinator.subject(3))
    private, _, device = asked
    assert isinstance(private, PrivateRound)
    assert (private.noise_drawn_on, device) == ("device", cuda)
    account = account_of(coordinator)
    assert account is not None
    places = [one.noise_drawn_on for one in account.begun.values()]
    assert places == ["cpu", "cpu", "device"]
    assert account.noise_drawn_on == "device"  # the weaker of the two


@pytest.mark.parametrize("real", [False, True])
def test_asked_for_a_round_again_a_site_gives_the_same_answer_and_pays_nothing(
    tmp_path: Path, real: bool
) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE, real=real)
    coordinator.propose()
    first = coordinator.train().arrays["update"]
    site_state.forget_open_sites()  # as after a restart
    again = coordinator.train(subject=coordinator.subject(1, attempt=2)).arrays["update"]
    assert again.tobytes() == first.tobytes()
    account = account_of(coordinator)
    assert account is not None
    assert list(account.begun) == [(1, 1)]


def test_a_real_site_draws_other_noise_each_time(tmp_path: Path) -> None:
    updates = []
    for name in ("one", "two"):
        coordinator = coordinator_of(tmp_path / name, *PRIVATE, real=True)
        coordinator.propose()
        updates.append(coordinator.train().arrays["update"])
    assert not np.array_equal(updates[0], updates[1])


def test_a_simulated_site_repeats_its_noise(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    first = coordinator.train().arrays["update"]
    run = coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run
    (run / "update.json").unlink()  # a crash before the update was kept
    again = coordinator.train().arrays["update"]
    assert again.tobytes() == first.tobytes()
    account = account_of(coordinator)
    assert account is not None
    assert list(account.begun) == [(1, 1)]


def test_other_weights_for_a_round_that_was_trained_are_charged_until_nothing_is_left(
    tmp_path: Path,
) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE, real=True)
    coordinator.propose()
    for attempt in range(1, 5):
        other = {messages.WEIGHTS: coordinator.weights + np.float32(attempt)}
        answer = coordinator.train(subject=coordinator.subject(1, attempt=attempt), arrays=other)
        assert isinstance(answer.message, messages.TrainReply)
    other = {messages.WEIGHTS: coordinator.weights + np.float32(9)}
    refused = coordinator.train(subject=coordinator.subject(1, attempt=5), arrays=other)
    assert refused.message == messages.Refusal("BUDGET_EXCEEDED")


@pytest.mark.parametrize(
    ("overrides", "policy", "code"),
    [
        ((), "unbounded_training = false", "UNBOUNDED_NOT_ALLOWED"),
        (PRIVATE, "epsilon_per_job = 2.0", "EPSILON_ABOVE_CAP"),
        ((*PRIVATE, "privacy.delta=0.01"), "", "DELTA_TOO_LARGE"),
        ((*PRIVATE, "training.batch_patients=13"), "", "BATCH_TOO_LARGE"),
        (PRIVATE, 'evaluation = "none"', "EVALUATION_NOT_ALLOWED"),
        (PRIVATE, "epsilon_per_job = 8.0\nno_such_key = 1", "CONFIGURATION"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused_before_any_training(
    tmp_path: Path, overrides: tuple[str, ...], policy: str, code: str
) -> None:
    assert refusal_of(coordinator_of(tmp_path, *overrides, policy=policy)) == code


def test_without_a_policy_file_training_without_privacy_is_refused(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, "secure_aggregation.enabled=true")
    (coordinator.federation.homes[SITE] / "policy.toml").unlink()
    assert refusal_of(coordinator) == "UNBOUNDED_NOT_ALLOWED"


def test_training_without_privacy_marks_its_patients_unbounded_at_once(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    coordinator.propose()
    account = account_of(coordinator)
    assert account is not None
    assert [type(one) for one in account.spent] == [Unbounded]


def test_a_second_job_on_the_same_patients_is_refused_where_both_pass_the_cap(
    tmp_path: Path,
) -> None:
    caps = "epsilon_per_job = 5.0\nepsilon_total = 5.0\ndelta_total = 1e-4"
    coordinator = coordinator_of(tmp_path, *PRIVATE, policy=caps)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    second = dataclasses.replace(
        coordinator, setup=coordinator.federation.set_up(tmp_path / "second")
    )
    assert refusal_of(second) == "BUDGET_EXCEEDED"


def test_an_edited_ledger_stops_the_next_round(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    coordinator.train()
    entries = coordinator.federation.homes[SITE] / "ledger" / "entries.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b'"attempt":1', b'"attempt":2'))
    answer = coordinator.train(subject=coordinator.subject(2))
    assert answer.message == messages.Refusal("LEDGER_DAMAGED")


def test_the_noise_of_a_run_stays_when_the_number_of_patients_changes(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    run = coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run
    before = read_plan(run)
    coordinator.propose()
    assert read_plan(run) == before


def test_each_evaluation_is_an_entry_and_the_last_one_gives_back_what_was_not_begun(
    tmp_path: Path,
) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    coordinator.train()
    weights = {messages.WEIGHTS: coordinator.weights}
    for split, kind in (
        ("validation", "validation"),
        ("validation", "validation"),
        ("test", "final"),
    ):
        coordinator.ask(f"evaluate.{kind}", messages.EvaluateWeights(split), weights)  # type: ignore[arg-type]
    home = SiteHome(coordinator.federation.homes[SITE])
    with open_ledger(home, SystemUtcClock()) as ledger:
        assert [e.split for e in ledger.accounts.evaluations] == ["validation", "test"]
        account = ledger.accounts.run(coordinator.setup.manifest.run)
        assert account.is_released
        assert account.charged == account.spent


def test_no_patient_is_trained_on_where_the_ledger_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()

    def refuse(*_: object) -> None:
        raise PrivacyError("the disk is full", code="DISK_FULL")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained though the ledger refused")

    monkeypatch.setattr("fedward_client.ledger.site_ledger.Ledger.begin_round", refuse)
    monkeypatch.setattr("fedward_client.training.private_training.train_privately", never)
    assert coordinator.train().message == messages.Refusal("DISK_FULL")


def test_a_ledger_that_is_gone_with_its_heads_is_not_begun_anew(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, *PRIVATE)
    coordinator.propose()
    home = coordinator.federation.homes[SITE]
    shutil.rmtree(home / "ledger")
    (home / "trust" / "ledger-head.json").unlink()
    assert coordinator.train().message == messages.Refusal("LEDGER_DAMAGED")


def test_a_site_that_only_evaluates_may_refuse_that_too(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, policy='evaluation = "none"')
    federation = coordinator.federation
    others = tuple(site for site in federation.homes if site != SITE)
    elsewhere = dataclasses.replace(federation.in_folder(tmp_path / "other"), training_sites=others)
    asked = dataclasses.replace(coordinator, setup=set_up(elsewhere))
    assert refusal_of(asked) == "EVALUATION_NOT_ALLOWED"

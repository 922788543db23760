"""A joint round at a site: refused where its noise could be seen through, charged and kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.joint_federation import joint_job, make_joint_federation

from fedward_client.daemon import site_state
from fedward_client.daemon.privacy_plan import read_plan
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_common.job.job_file import Job
from fedward_common.privacy.disclosures import JointSteps
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.wire import messages


def coordinator_of(
    folder: Path, job: Job | None = None, *, policy: str = "", real: bool = False
) -> Coordinator:
    federation = make_joint_federation(folder / "federation", job)
    federation = dataclasses.replace(federation, seals_answers=real)
    home = federation.homes[SITE]
    if policy:
        (home / "policy.toml").write_text(
            f"[privacy]\n{policy}\n[secure_aggregation]\nrequired = false\n"
            '[jobs]\napproval = "within-policy"\n'
        )
    if real:
        settings = (home / "site.toml").read_text()
        assert "simulated = true\n" in settings
        (home / "site.toml").write_text(settings.replace("simulated = true\n", ""))
    site_state.forget_open_sites()
    setup = federation.set_up(folder / "run")
    return Coordinator(federation, setup, setup.key)


def test_a_real_site_refuses_while_the_coordinator_would_see_its_share(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, real=True)
    answer = coordinator.propose()
    assert answer.message == messages.Refusal("JOINT_NEEDS_SECURE_AGGREGATION")
    home = SiteHome(coordinator.federation.homes[SITE])
    with open_ledger(home, SystemUtcClock()) as ledger:
        assert ledger.accounts.runs == {}


def test_a_site_whose_policy_has_no_word_of_it_refuses(tmp_path: Path) -> None:
    answer = coordinator_of(tmp_path, policy="epsilon_per_job = 9.0").propose()
    assert answer.message == messages.Refusal("JOINT_NOT_ALLOWED")


def test_the_plan_keeps_the_constants_that_shares_are_made_with(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    coordinator.propose()
    manifest = coordinator.setup.manifest
    run = coordinator.federation.homes[SITE] / "runs" / manifest.run
    plan = read_plan(run)
    assert plan.joint == joint_constants_of(joint_job(), 4, manifest.num_parameters)
    assert isinstance(plan.disclosure_of(4), JointSteps)


def test_a_round_answers_with_a_share_alone_and_the_same_when_asked_again(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    coordinator.propose()
    first = coordinator.train()
    assert first.message == messages.TrainReply(1)
    assert set(first.arrays) == {messages.SHARES}
    share = first.arrays[messages.SHARES]
    assert (share.dtype, share.shape) == (np.int64, coordinator.weights.shape)
    assert np.count_nonzero(share) > 0.99 * share.size  # noise reaches every weight
    site_state.forget_open_sites()  # as after a restart
    run = coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run
    assert (run / "update.json").exists()
    again = coordinator.train(subject=coordinator.subject(1, attempt=2))
    assert again.arrays[messages.SHARES].tobytes() == share.tobytes()
    home = SiteHome(coordinator.federation.homes[SITE])
    with open_ledger(home, SystemUtcClock()) as ledger:
        account = ledger.accounts.run(coordinator.setup.manifest.run)
    assert list(account.begun) == [(1, 1)]
    assert account.committed == {(1, 1)}


def test_what_is_frozen_gets_no_noise(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, joint_job(frozen=("*.bias",)))
    coordinator.propose()
    share = coordinator.train().arrays[messages.SHARES]
    run = next(iter(site_state.open_site(coordinator.federation.homes[SITE]).runs.values()))
    begin = 0
    for name, tensor in run.network.module.named_parameters():
        part = share[begin : begin + tensor.numel()]
        begin += tensor.numel()
        assert np.any(part) != name.endswith(".bias")


@pytest.mark.parametrize("number", [0, 5])
def test_a_round_that_the_job_does_not_have_is_refused(tmp_path: Path, number: int) -> None:
    coordinator = coordinator_of(tmp_path)
    coordinator.propose()
    answer = coordinator.train(subject=coordinator.subject(number))
    assert answer.message == messages.Refusal("ROUND_OUT_OF_RANGE")

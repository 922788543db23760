"""One noise for all hospitals: four of them in memory, of which three are enough."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.joint_federation import FOUR_SITES, joint_job, make_joint_federation
from tests.simulation.test_resume import Killed, KillingJournal
from tests.tiny_federation import TinyFederation, entries_of, essence, history_of
from torch.nn import functional

from fedward_client.daemon import site_work
from fedward_client.daemon.private_rounds import share_of_joint_step_once
from fedward_client.daemon.site_state import OpenRun, open_site
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.local_simulation import privacy_of_run
from fedward_client.site_home import SiteHome
from fedward_client.training.joint_step import JointShare
from fedward_common.errors import PrivacyError, QuorumError, TrainingError
from fedward_common.job.job_file import Job
from fedward_common.privacy import joint_mechanism
from fedward_common.privacy.disclosures import JointSteps
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.privacy.joint_mechanism import effective_noise_multiplier
from fedward_common.tensor_file import read_tensors
from fedward_server.coordinator import round_sum
from fedward_server.simulation.federation import Engine
from fedward_server.simulation.simulate import SimulationPlan, simulate

Vector = NDArray[np.float64]
RATE = 0.5


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    return make_joint_federation(tmp_path_factory.mktemp("four") / "federation")


def with_job(federation: TinyFederation, job: Job) -> TinyFederation:
    return dataclasses.replace(federation, job=job)


def first_update(federation: TinyFederation, folder: Path) -> Vector:
    """What the first round added to the weights, divided by the learning rate and its sign."""
    setup = federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 2, before=False))
    entry = entries_of(folder)[1]
    weights = read_tensors(folder / entry["file"], entry["sha256"])["weights"]
    return (weights.astype(np.float64) - setup.initial_weights()) / -RATE


def open_runs(federation: TinyFederation, folder: Path) -> Iterable[OpenRun]:
    setup = federation.set_up(folder)
    for home in federation.homes.values():
        yield open_site(home).accepted_run(setup.manifest.run, setup.manifest_sha256)


def clipped_sum_by_hand(run: OpenRun, weights: NDArray[np.float32], norm: float) -> Vector:
    """Sum one site's clipped gradients, a patient at a time, as plain autograd has them."""
    run.network.weights.load(weights)
    module, data = run.network.module, run.training_data
    total = np.zeros(weights.size)
    for (case,) in data.cases_by_patient:
        image = torch.from_numpy(np.array(data.images[case]))[None]
        label = torch.tensor([int(data.labels[case])])
        loss = functional.cross_entropy(module(image), label)
        parts = torch.autograd.grad(loss, list(module.parameters()))
        gradient = torch.cat([part.double().flatten() for part in parts]).numpy()
        total += gradient * min(1.0, norm / float(np.linalg.norm(gradient)))
    return total


def test_without_noise_a_round_is_the_clipped_mean_gradient_of_all_patients(
    four: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = joint_job(sampling_rate=1.0, clipping_norm=0.7, fraction_bits=24)
    everybody = with_job(four, job)

    def none(noise: object, num_values: int, sigma: float) -> NDArray[np.int64]:
        return np.zeros(num_values, dtype=np.int64)

    monkeypatch.setattr(joint_mechanism, "discrete_gaussian", none)
    found = first_update(everybody, tmp_path / "run")
    start = everybody.set_up(tmp_path / "run").initial_weights()
    sums = [clipped_sum_by_hand(r, start, 0.7) for r in open_runs(everybody, tmp_path / "run")]
    assert len(sums) == 4
    wanted = np.sum(sums, axis=0) / 24.0
    assert np.linalg.norm(wanted) > 0.1
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_the_noise_of_the_sum_is_that_of_all_shares(
    four: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = joint_job(sampling_rate=1.0, noise_multiplier=3.0)
    everybody = with_job(four, job)
    noisy = first_update(everybody, tmp_path / "noisy")
    monkeypatch.setattr(
        joint_mechanism, "discrete_gaussian", lambda noise, n, sigma: np.zeros(n, dtype=np.int64)
    )
    residual = noisy - first_update(everybody, tmp_path / "plain")
    share = joint_constants_of(job, 4, residual.size).share_standard_deviation
    wanted = share * 2.0 / 24.0  # four sites, over the divisor
    assert residual.std() == pytest.approx(wanted, rel=5.0 / np.sqrt(2 * residual.size))


def test_a_run_ends_with_its_steps_in_every_ledger(four: TinyFederation, tmp_path: Path) -> None:
    history = four.run(tmp_path / "run")
    assert history.finished
    assert history.participants == [list(FOUR_SITES)] * 4
    assert history.failures == []
    setup = four.set_up(tmp_path / "run")
    run, size = setup.manifest.run, setup.manifest.num_parameters
    multiplier = effective_noise_multiplier(joint_constants_of(four.job, 4, size))
    for home in four.homes.values():
        with open_ledger(SiteHome(home), SystemUtcClock()) as ledger:
            (spent,) = ledger.accounts.run(run).spent
        assert isinstance(spent, JointSteps)
        assert (spent.num_steps, spent.sampling_rate) == (4, 0.5)
        assert spent.noise_multiplier == multiplier
        assert spent.delta_slack_per_step > 0
        cost = privacy_of_run(home, run)
        assert cost is not None
        assert 0 < cost["epsilon"] <= cost["epsilon_reserved"] < 1000


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_joint_run_killed_at_any_entry_ends_as_the_undisturbed_run(
    four: TinyFederation, tmp_path: Path, before: bool
) -> None:
    short = four.with_job("job.rounds=2", "evaluation.every=2")
    short.run(tmp_path / "undisturbed")
    wanted = essence(tmp_path / "undisturbed")
    for entry in range(1, len(entries_of(tmp_path / "undisturbed")) + 1):
        folder = tmp_path / f"killed-{entry}"
        short.set_up(folder)
        with pytest.raises(Killed):
            short.run(folder, journal=KillingJournal(folder, entry, before=before))
        short.run(folder)
        assert essence(folder) == wanted, f"killed at entry {entry}"


Share = Callable[..., JointShare]


@pytest.fixture
def change_shares(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let some sites' shares of the second round be changed by a function."""
    honest: Share = share_of_joint_step_once

    def install(sites: set[str], change: Callable[[JointShare], JointShare]) -> None:
        def share(site: Any, run: Any, round_: Any, attempt: int) -> JointShare:
            given = honest(site, run, round_, attempt)
            bad = site.site_id in sites and round_.round_number == 2
            return change(given) if bad else given

        monkeypatch.setattr(site_work, "share_of_joint_step_once", share)

    return install


def failing(share: JointShare) -> JointShare:
    raise TrainingError("no memory", code="OUT_OF_MEMORY")


def test_without_one_of_four_a_round_counts(
    four: TinyFederation, tmp_path: Path, change_shares: Callable[..., None]
) -> None:
    change_shares({"birch"}, failing)
    history = four.run(tmp_path / "run")
    assert history.finished
    assert history.participants[1] == ["alder", "cedar", "dogwood"]
    assert [(f["site"], f["code"]) for f in history.failures] == [("birch", "OUT_OF_MEMORY")]


def test_without_two_of_four_the_round_is_abandoned_and_nothing_is_decoded(
    four: TinyFederation,
    tmp_path: Path,
    change_shares: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    four.run(tmp_path / "undisturbed")
    decoded: list[int] = []

    def counted(constants: Any, total: Any) -> Any:
        decoded.append(1)
        return joint_mechanism.decode(constants, total)

    monkeypatch.setattr(round_sum, "decode", counted)
    folder = tmp_path / "run"
    change_shares({"birch", "cedar"}, failing)
    with pytest.raises(QuorumError, match="2 of 4 sites"):
        four.run(folder)
    kinds = [entry["kind"] for entry in entries_of(folder)]
    assert kinds.count("round.abandoned") == 2
    assert len(decoded) == 1  # the first round's
    change_shares(set(), failing)
    four.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "spoil",
    [lambda v: v[:-1], lambda v: v.astype(np.float32)],
    ids=["length", "dtype"],
)
def test_a_share_of_another_length_or_type_leaves_its_site_out_by_name(
    four: TinyFederation,
    tmp_path: Path,
    change_shares: Callable[..., None],
    spoil: Callable[[NDArray[np.int64]], NDArray[Any]],
) -> None:
    change_shares({"birch"}, lambda share: JointShare(spoil(share.values), 0.0))
    history = four.run(tmp_path / "run")
    assert history.finished
    failures = [(f["site"], f["round"], f["code"]) for f in history.failures]
    assert failures == [("birch", 2, "WEIGHTS_MISMATCH")]


def test_a_quorum_that_is_too_small_is_refused_before_anything_starts(
    four: TinyFederation, tmp_path: Path
) -> None:
    job = four.with_job("quorum.required_sites=2").job
    engine = Engine(num_workers=0)
    out = tmp_path / "out"
    plan = SimulationPlan(job, four.cohorts, four.data, out, (0,), False, engine)
    with pytest.raises(PrivacyError) as refusal:
        next(iter(simulate(plan, lambda label: pytest.fail(label), resume=False)))
    assert refusal.value.code == "JOINT_QUORUM_TOO_SMALL"
    assert not out.exists()


def test_a_site_refuses_a_quorum_that_is_too_small(four: TinyFederation, tmp_path: Path) -> None:
    weak = four.with_job("quorum.required_sites=2")
    with pytest.raises(QuorumError, match="alder: JOINT_QUORUM_TOO_SMALL"):
        weak.run(tmp_path / "run")
    assert not history_of(tmp_path / "run").accepted

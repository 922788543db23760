"""SCAFFOLD with the code of both sides and no messages: worked by hand, and on skewed labels."""

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tests.common.job.job_tables import table_with
from torch import Tensor, nn

from fedward_client.training.control_variates import change_of_own_variate, sum_of_rates
from fedward_client.training.gradient_terms import GradientTerms
from fedward_client.training.local_training import RoundOfTraining, TrainingData, train_locally
from fedward_client.training.optimizers import build_optimizer
from fedward_common.job.job_file import Job, job_from_table
from fedward_common.models.flat_vector import FlatWeights
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.round_sum import ScaffoldSum
from fedward_server.optimizers import Scaffold

CPU = torch.device("cpu")


def job_of(**training: Any) -> Job:
    changes = {f"training.{key}": value for key, value in training.items()}
    return job_from_table(
        table_with({"strategy.name": "scaffold", "strategy.weighting": "uniform"} | changes)
    )


class TwoWeights(nn.Module):
    def __init__(self, start: FlatWeights) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))


def update_towards(
    target: tuple[float, float], start: FlatWeights, correction: FlatWeights, job: Job
) -> FlatWeights:
    """Take the job's steps down 1/2 |w - target|^2."""
    module = TwoWeights(start)
    terms = GradientTerms(module, [module.weight], job.training, correction)
    rate = job.training.optimizer.learning_rate
    optimizer = build_optimizer(job.training.optimizer, [module.weight], rate)
    for _ in range(job.training.local_steps):
        module.weight.grad = module.weight.detach() - torch.tensor(target)
        terms.add()
        optimizer.step()
    update: FlatWeights = module.weight.detach().numpy() - start
    return update


def test_two_rounds_of_two_sites_with_two_weights_worked_by_hand() -> None:
    job = job_of(local_steps=2, optimizer={"name": "sgd", "learning_rate": 0.5})
    targets = {"alder": (1.0, 0.0), "birch": (0.0, 2.0)}
    own = {site: np.zeros(2, dtype=np.float32) for site in targets}
    strategy = Scaffold(1.0, 2)
    model = GlobalModel(np.zeros(2, dtype=np.float32).tobytes(), strategy, 0.0)
    total = ScaffoldSum(model, strategy, job, num_sites=2)
    seen = []
    for number in (1, 2):
        rates = sum_of_rates(job.training, RoundOfTraining(number, 5, 0))
        assert rates == 1.0
        start = np.frombuffer(model.weights, dtype=np.float32).copy()
        variate = strategy.control_variate.copy()
        total.clear()
        for site, target in targets.items():
            update = update_towards(target, start, variate - own[site], job)
            change = change_of_own_variate(update, variate, rates)
            own[site] += change
            total.add({"update": update, "control-variate-change": change}, 1.0)
        total.commit(number)
        weights = np.frombuffer(model.weights, dtype=np.float32)
        seen.append([weights.tolist(), strategy.control_variate.tolist()])
    # Round 1: alder 0 -> 1/2 -> 3/4, so c_a = (-3/4, 0); birch 0 -> 1 -> 3/2, so c_b = (0, -3/2).
    assert seen[0] == [[0.375, 0.75], [-0.375, -0.75]]
    # Round 2, alder, corrected by (3/8, -3/4): (3/8, 3/4) -> (1/2, 3/4) -> (9/16, 3/4).
    # Birch, corrected by (-3/8, 3/4): (3/8, 3/4) -> (3/8, 1) -> (3/8, 9/8).
    assert seen[1] == [[0.46875, 0.9375], [-0.09375, -0.1875]]
    assert own["alder"].tolist() == [-0.5625, 0.75]
    assert own["birch"].tolist() == [0.375, -1.125]


# -- skewed labels ---------------------------------------------------------------------------------


def skewed_site(share_of_ones: float, seed: int, num_patients: int = 80) -> TrainingData:
    """Make 2 x 2 images that tell their class with much noise; classes are of unequal number."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(num_patients) < share_of_ones * num_patients).astype(np.int64)
    images = draw.normal(0, 1, (num_patients, 1, 2, 2)).astype(np.float32)
    images[:, 0, 0] += labels[:, None] * np.float32(1.0)
    images[:, 0, 1, 0] += np.float32(2 * share_of_ones)  # scanners differ too
    cases = list(np.arange(num_patients)[:, None])
    return TrainingData(images, None, labels, cases)


def linear() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def flat_of(module: nn.Module) -> FlatWeights:
    vector: FlatWeights = torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy()
    return vector


def load(module: nn.Module, vector: NDArray[np.float32]) -> None:
    nn.utils.vector_to_parameters(torch.from_numpy(vector.copy()), module.parameters())


def mean_loss(sites: list[TrainingData], module: nn.Module) -> Tensor:
    """The loss that the federation is to lower: the mean over sites."""
    losses = [
        nn.functional.cross_entropy(
            module(torch.from_numpy(site.images)), torch.from_numpy(site.labels).long()
        )
        for site in sites
    ]
    return torch.stack(losses).mean()


def loss_at(sites: list[TrainingData], vector: NDArray[np.float32]) -> float:
    module = linear()
    load(module, vector)
    with torch.no_grad():
        return float(mean_loss(sites, module))


def optimum_of(sites: list[TrainingData]) -> FlatWeights:
    """Go down the mean loss itself, as if all images lay in one place."""
    module = linear()
    descent = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(2000):
        descent.zero_grad()
        mean_loss(sites, module).backward()  # type: ignore[no-untyped-call]  # torch's own
        descent.step()
    return flat_of(module)


@dataclasses.dataclass(frozen=True)
class Ended:
    weights: FlatWeights
    drift: float


def federated(sites: list[TrainingData], job: Job, *, corrected: bool, rounds: int = 50) -> Ended:
    """Run SCAFFOLD, or FedAvg where nothing is corrected; drift is that of the last round."""
    strategy = Scaffold(1.0, 10)
    model = GlobalModel(flat_of(linear()).tobytes(), strategy, 0.0)
    total = ScaffoldSum(model, strategy, job, len(sites))
    own = [np.zeros(10, dtype=np.float32) for _ in sites]
    updates: list[FlatWeights] = []
    for number in range(1, rounds + 1):
        start = np.frombuffer(model.weights, dtype=np.float32).copy()
        variate = strategy.control_variate.copy()
        total.clear()
        updates = []
        for place, site in enumerate(sites):
            correction = variate - own[place] if corrected else None
            round_ = RoundOfTraining(number, rounds, 3, correction)
            module = linear()
            load(module, start)
            train_locally(module, job, site, round_, CPU)
            updates.append(flat_of(module) - start)
            rates = sum_of_rates(job.training, round_)
            change = change_of_own_variate(updates[-1], variate, rates)
            own[place] += change
            total.add({"update": updates[-1], "control-variate-change": change}, 1.0)
        total.commit(number)
    mean = np.mean(updates, axis=0)
    drift = float(np.mean([np.linalg.norm(update - mean) for update in updates]))
    return Ended(np.frombuffer(model.weights, dtype=np.float32).copy(), drift)


def test_on_skewed_labels_sites_drift_less_and_the_optimum_is_reached() -> None:
    sites = [skewed_site(share, seed) for seed, share in enumerate((0.1, 0.5, 0.9))]
    optimizer = {"name": "sgd", "learning_rate": 0.3}
    job = job_of(local_steps=10, batch_patients=80, optimizer=optimizer)
    optimum = optimum_of(sites)
    plain = federated(sites, job, corrected=False)
    scaffold = federated(sites, job, corrected=True)
    assert scaffold.drift < 0.02 * plain.drift
    distances = [np.linalg.norm(ended.weights - optimum) for ended in (scaffold, plain)]
    assert distances[0] < 0.05 * distances[1]
    best = loss_at(sites, optimum)
    assert loss_at(sites, plain.weights) - best > 1e-3
    assert loss_at(sites, scaffold.weights) - best < 1e-4

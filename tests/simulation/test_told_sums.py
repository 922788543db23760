"""Sums over patients are told of the same sites or not at all: no difference shows one site's."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.masked_federation import FIVE_SITES, MASKED, five_sites
from tests.tiny_federation import FakeClock, TinyFederation

from fedward_common.errors import QuorumError
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.between_attempts import BetweenAttempts
from fedward_server.coordinator.collection import Asked, SecureCollection
from fedward_server.coordinator.exchange import Exchange, Failure
from fedward_server.coordinator.pooled_evaluation import PooledSums
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.simulation.in_process_grid import InTurnGrid

ALL = [SiteId(name) for name in FIVE_SITES]


class Asking:
    """A coordinator that asks for sums whenever it likes."""

    def __init__(self, federation: TinyFederation, folder: Path) -> None:
        self.setup = federation.with_job(MASKED).set_up(folder)
        grid = InTurnGrid(federation.node_configs())
        exchange = Exchange(grid, self.setup.key, self.setup.roster.keys_of_sites, FakeClock())
        query = messages.ManifestQuery(self.setup.manifest_bytes, self.setup.roster_bytes)
        subject = subject_of(self.setup, manifest=False)
        exchange.find_sites(question_of("query.manifest", query, subject, {}), 60)
        between = BetweenAttempts(self.setup, exchange, print)
        self.collection = SecureCollection(self.setup, exchange, between)
        self.failures: list[Failure] = []

    def sums(
        self, split: messages.SecurePurpose, number: int, sites: list[SiteId], scale: float = 1.0
    ) -> NDArray[np.int64]:
        weights = (self.setup.initial_weights() * np.float32(scale)).tobytes()
        kind = "evaluate.final" if split == "test" else "evaluate.validation"
        message = messages.EvaluateWeights("test" if split == "test" else "validation")
        subject = subject_of(self.setup, number)
        question = question_of(kind, message, subject, {messages.WEIGHTS: weights})
        pooled = PooledSums.empty(self.setup.job.task, num_sites=len(ALL))
        self.failures.clear()
        self.collection.evaluate(Asked(question, sites, self.failures), split, pooled)
        self.collection.committed()
        return pooled.sums.to_vector()


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(five_sites(tmp_path), tmp_path / "run")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_same_weights_are_never_told_of_fewer_sites_under_a_higher_number(
    asking: Asking, split: messages.SecurePurpose
) -> None:
    asking.sums(split, 4, ALL)
    with pytest.raises(QuorumError):
        asking.sums(split, 5, ALL[1:])
    assert {failed.code for failed in asking.failures} == {"SECAGG_MASKED_BEFORE"}


def test_a_total_that_was_lost_is_told_again_of_the_same_sites(asking: Asking) -> None:
    first = asking.sums("test", 4, ALL)
    np.testing.assert_array_equal(asking.sums("test", 5, ALL), first)


def test_other_weights_may_be_judged_by_other_sites(asking: Asking) -> None:
    asking.sums("validation", 4, ALL)
    assert asking.sums("validation", 5, ALL[1:], scale=0.5).sum() > 0

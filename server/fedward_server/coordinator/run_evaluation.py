"""The evaluations of a run: its rounds on validation patients, the best of them on test patients.

Weights of round r are evaluated in the exchange of round r + 1 (the last round's in an exchange of
their own); the test split is asked of one set of weights, the best on pooled validation.
"""

from typing import Any

from fedward_common.errors import CorruptFileError, QuorumError
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.between_attempts import BetweenAttempts, Missed
from fedward_server.coordinator.checkpoints import CheckpointStore
from fedward_server.coordinator.collection import Asked, Collection
from fedward_server.coordinator.exchange import Failure
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.observer import RunObserver
from fedward_server.coordinator.pooled_evaluation import PooledSums, figures_of, thresholds_of
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.coordinator.quorum import has_quorum
from fedward_server.coordinator.round_failures import (
    RoundLostError,
    are_for_good,
    require_tested,
    told_failures,
)
from fedward_server.coordinator.run_journal import packed
from fedward_server.coordinator.run_record import RunRecord
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.selection import is_best


class RunEvaluation:
    """What is evaluated in one run, when, and what comes of it.

    Args:
        setup: What is fixed for the run.
        model: Its weights, as they are at each moment.
        store: Keeps the best of them.
        record: What was done; every step is appended before it counts.
        collection: Brings sums of sites together.
        between: Waits before an attempt is repeated.
        observer: Sees what happens.
    """

    def __init__(
        self,
        setup: RunSetup,
        model: GlobalModel,
        store: CheckpointStore,
        record: RunRecord,
        collection: Collection,
        between: BetweenAttempts,
        observer: RunObserver,
    ) -> None:
        self._setup = setup
        self._job = setup.job
        self._model = model
        self._store = store
        self._record = record
        self._history = record.history
        self._collection = collection
        self._between = between
        self._observer = observer

    def is_due(self, number: int) -> bool:
        """Say whether a round's weights are to be evaluated."""
        due = number > 0 and number % self._job.evaluation.every == 0
        return due and not self._history.is_evaluated

    def no_sums(self) -> PooledSums:
        """Give room for the sums of all that accepted the run."""
        return PooledSums.empty(self._job.task, num_sites=len(self._history.accepted))

    def judge(
        self, number: int, pooled: PooledSums | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Make the evaluation of a round's weights, and keep these if none were better."""
        if pooled is None or not pooled.sites:
            return None, None
        thresholds = thresholds_of(pooled.sums)
        figures = figures_of(pooled.sums, self._job.task, thresholds, split="validation")
        evaluation = {
            "round": number,
            "figures": figures,
            "sites": pooled.sites,
            "seconds": self._record.seconds(),
        }
        metric = self._job.selection_metric
        if not is_best(metric, evaluation, self._history.evaluations):
            return evaluation, None
        best = self._store.save_best(number, self._model.evaluated)
        best |= {"round": number, "value": figures[metric]["value"]}
        return evaluation, best | {"sums": packed(pooled.sums.to_vector())}

    def tell(self, evaluation: dict[str, Any] | None, best: dict[str, Any] | None) -> None:
        """Let the observer know of an evaluation that is in the journal."""
        if evaluation is not None:
            self._observer.evaluated(
                evaluation["round"], evaluation["figures"], best=best is not None
            )

    def evaluate_last_round(self) -> None:
        """Evaluate the weights that no round after them did."""
        last = self._history.round
        if self._history.is_evaluated or self._history.final:
            return
        trainers = [SiteId(s) for s, t in self._history.accepted.items() if t["trains"]]
        pooled, failures = self._evaluate("validation", self._model.evaluated, trainers)
        evaluation, best = self.judge(last, pooled)
        self._record.add(
            "evaluation.validation",
            evaluation=evaluation,
            best=best,
            failures=failures,
            seconds=self._record.seconds(),
        )
        self._collection.committed()
        self.tell(evaluation, best)

    def evaluate_on_test(self) -> None:
        """Evaluate the selected weights on test patients, once a run.

        Raises:
            QuorumError: No site gave sums.
        """
        if self._history.final is not None:
            return
        selected, weights = self._selected_weights()
        sites = [SiteId(s) for s in self._history.accepted]
        pooled, failures = self._evaluate("test", weights, sites)
        require_tested(pooled.sites, failures)
        final = {
            "selected": selected,
            "sites": pooled.sites,
            "sums": packed(pooled.sums.to_vector()),
        }
        seconds = self._record.seconds()
        self._record.add("evaluation.final", final=final, failures=failures, seconds=seconds)
        self._collection.committed()

    def _evaluate(
        self, split: messages.SecurePurpose, weights: bytes, sites: list[SiteId]
    ) -> tuple[PooledSums, list[dict[str, Any]]]:
        number = self._history.round + self._history.evaluations_lost.get(split, 0)
        first = self._history.evaluation_attempts.get(split, -1) + 1
        kind = "evaluate.final" if split == "test" else "evaluate.validation"
        message = messages.EvaluateWeights("test" if split == "test" else "validation")
        last = first + self._job.quorum.attempts - 1
        for attempt in range(first, last + 1):
            self._between.begin()
            subject = subject_of(self._setup, number, attempt)
            question = question_of(kind, message, subject, {messages.WEIGHTS: weights})
            pooled = self.no_sums()
            failures: list[Failure] = []
            try:
                self._collection.evaluate(Asked(question, sites, failures), split, pooled)
                if attempt == last or self._is_enough(pooled, failures):
                    break
            except RoundLostError:
                break  # the same attempt may still come to its end
            except QuorumError:
                pass  # below, where no frame holds a vector while others are waited for
            # Those of the last attempt are told by whoever asked for the evaluation.
            told = [] if attempt == last else told_failures(failures, number, attempt)
            self._record.add("evaluation.abandoned", split=split, number=attempt, failures=told)
            if attempt < last:
                fewest, accepted = self._collection.fewest_to_repeat(split), self._history.accepted
                is_repeated = attempt > first
                self._between.wait_to_repeat(Missed(split, accepted, fewest, failures, is_repeated))
        if not pooled.sites and are_for_good(failures):
            self._record.add("evaluation.lost", split=split)
        return pooled, told_failures(failures, number, attempt)

    def _is_enough(self, pooled: PooledSums, failures: list[Failure]) -> bool:
        """Say whether to be content with these sums, or to wait for others.

        Masked sums are: whoever revealed them gives no other sum of these weights.
        """
        if self._job.secure_aggregation.enabled or not failures:
            return True
        away = self._between.exchange.away([failed.site for failed in failures])
        return not away or has_quorum(self._job.quorum, self._history.accepted, pooled.sites)

    def _selected_weights(self) -> tuple[dict[str, Any], bytes]:
        for best in reversed(self._history.bests):
            try:
                return best, self._store.load_weights(best).tobytes()
            except CorruptFileError as error:
                self._observer.note(f"{error}; the best weights before it are used")
        last = self._history.round
        selected = self._store.save_best(last, self._model.evaluated)
        selected |= {"round": last, "value": None, "sums": None}
        return selected, self._model.evaluated

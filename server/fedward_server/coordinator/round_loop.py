"""The rounds of one run, from whatever its journal says was done to its end.

Every step is durable before the next begins, and everything random derives from the run's seed, so
a run that was killed anywhere and goes on gives the same weights, bit for bit. Weights of round r
are evaluated in the exchange of round r + 1 (the last round's in an exchange of their own); the
test split is asked of one set of weights, those that were best on pooled validation. Then sites are
told what came of it.
"""

import itertools
from typing import Any

from fedward_common.clock import Clock
from fedward_common.errors import FedwardError, QuorumError
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.acceptance import patience_at_start
from fedward_server.coordinator.aggregation_fits import require_weights_fit
from fedward_server.coordinator.between_attempts import BetweenAttempts, Missed
from fedward_server.coordinator.checkpoints import CheckpointStore
from fedward_server.coordinator.collection import Asked, Collected, collection_of
from fedward_server.coordinator.counted_rounds import last_counted_rounds
from fedward_server.coordinator.exchange import (
    UNEXPECTED_ANSWER,
    Answer,
    Exchange,
    Failure,
)
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.hold_out_gate import HoldOutGate, NoGate, gate_of
from fedward_server.coordinator.observer import RunObserver, clipped_text
from fedward_server.coordinator.pooled_evaluation import PooledSums
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.coordinator.quorum import require_quorum, terms_of
from fedward_server.coordinator.round_failures import (
    RoundForgottenError,
    RoundLostError,
    are_for_good,
    require_any_round,
    require_worth_going_on,
    told_failure,
    told_failures,
)
from fedward_server.coordinator.round_sum import round_sum_of
from fedward_server.coordinator.run_closing import CLOSING_SECONDS, tell_result
from fedward_server.coordinator.run_evaluation import RunEvaluation
from fedward_server.coordinator.run_journal import (
    HOLD_OUT_REJECTED,
    RunHistory,
    RunJournal,
)
from fedward_server.coordinator.run_record import RunRecord
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.selection import should_stop
from fedward_server.coordinator.waiting import tell_waiting
from fedward_server.optimizers import build_server_optimizer


class RoundLoop:
    """One run of one job.

    Args:
        setup: What is fixed for the run.
        exchange: Asks sites.
        journal: What was done; every step is appended before it counts.
        observer: Sees what happens.
        clock: Counts the run's seconds.
    """

    def __init__(
        self,
        setup: RunSetup,
        exchange: Exchange,
        journal: RunJournal,
        observer: RunObserver,
        clock: Clock,
    ) -> None:
        self._setup = setup
        self._job = setup.job
        self._exchange = exchange
        self._observer = observer
        self._store = CheckpointStore(setup.folder)
        self._record = RunRecord(journal, clock)
        self.history = self._record.history
        self._told_clipped = False
        self._model = self._restored_model()
        self._sum = round_sum_of(setup, self._model)
        self._between = BetweenAttempts(setup, exchange, observer.note)
        self._collection = collection_of(setup, exchange, self._between)
        self._evaluation = RunEvaluation(
            setup, self._model, self._store, self._record, self._collection, self._between, observer
        )
        self._gate: HoldOutGate | NoGate = NoGate()

    def run(self) -> RunHistory:
        """Do what is left of the run.

        Raises:
            QuorumError: Too few sites; everything committed before is kept.
        """
        if self.history.finished:
            return self.history
        tell_waiting(self._setup.folder, {})  # of a wait that a kill cut short
        if self.history.final is None:
            self._train_and_test()
        elif self.history.receipts is None:
            self._find_sites(min(CLOSING_SECONDS, self._job.quorum.deadline_seconds))
        tell_result(self._setup, self._record, self._exchange)
        self._record.add("run.finished", seconds=self._record.seconds())
        self._store.prune(self.history)
        return self.history

    def _train_and_test(self) -> None:
        self._gate = gate_of(self._setup, self._model)
        self._accept()
        while self._goes_on():
            self._run_round(self.history.round + 1)
        require_any_round(self.history.participants)
        self._evaluation.evaluate_last_round()
        self._evaluation.evaluate_on_test()

    def _restored_model(self) -> GlobalModel:
        strategy = self._job.strategy
        weights = self._setup.initial_weights().tobytes()
        optimizer = build_server_optimizer(strategy, len(weights) // 4)
        model = GlobalModel(weights, optimizer, strategy.ema_decay)
        del weights
        # A run that was tested needs no weights to end, and told of its end no site trains again.
        if self.history.checkpoints and self.history.final is None:
            passed_over = self._store.restore_newest(model, self.history)
            for line in passed_over:
                self._observer.note(f"{line}; the checkpoint before it is used")
            if passed_over and not self._job.secure_aggregation.enabled:
                self._record.add("run.rewound", round=model.round, passed_over=passed_over)
        # Masking, no site goes back to a lower round: what is lost is left out.
        model.round = self.history.round
        return model

    # -- who takes part ------------------------------------------------------------------------

    def _accept(self) -> None:
        accepted, failures = self._find_sites(self._job.quorum.deadline_seconds)
        # Terms only with a quorum: else sites that are mended later could never join the run.
        known = self.history.accepted or accepted
        present = [site for site in accepted if site in known]
        try:
            require_quorum(self._job.quorum, known, present, what="the run", failures=failures)
        except QuorumError:
            self._record.add("acceptance.abandoned", failures=failures)
            raise
        if not self.history.accepted:
            require_weights_fit(self._job, self._setup.manifest.training_sites, accepted)
            self._record.add("run.accepted", accepted=accepted, failures=failures)
        self._observer.accepted(known, failures)

    def _find_sites(self, deadline_seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Learn where the sites are, and who takes part on which terms."""
        query = messages.ManifestQuery(self._setup.manifest_bytes, self._setup.roster_bytes)
        subject = subject_of(self._setup, manifest=False)
        question = question_of("query.manifest", query, subject, {})
        accepted: dict[str, Any] = {}
        failures: list[dict[str, Any]] = []
        patience = patience_at_start(self._setup, self.history.accepted, self._observer.note)
        outcomes = self._exchange.find_sites(question, deadline_seconds, patience)
        for outcome in outcomes:
            terms = self._terms(outcome)
            if isinstance(terms, Failure):
                failures.append(told_failure(terms, 0, 0))
            else:
                accepted[outcome.site] = terms
        return accepted, failures

    def _terms(self, outcome: Answer | Failure) -> dict[str, Any] | Failure:
        if isinstance(outcome, Failure):
            return outcome
        if not isinstance(outcome.message, messages.ManifestReply):
            return Failure(outcome.site, UNEXPECTED_ANSWER)
        trains = outcome.site in self._setup.manifest.training_sites
        try:
            return terms_of(outcome.message, self._job.strategy, trains=trains)
        except FedwardError as error:
            return Failure(outcome.site, error.code)

    # -- one round -----------------------------------------------------------------------------

    def _run_round(self, number: int) -> None:
        first = self.history.attempts.get(number, 0) + 1
        last = first + self._job.quorum.attempts - 1
        for attempt in itertools.count(first):
            self._between.begin()
            self._observer.round_begins(number, attempt)
            failures: list[Failure] = []
            missed = self._attempt(number, attempt, failures, is_last=attempt == last)
            if missed is None:
                return
            if isinstance(missed, RoundForgottenError):
                last += 1  # none of the job's own, and at most once: the next is on disk
            if attempt >= last:
                raise missed
            fewest, accepted = self._collection.fewest_to_repeat("train"), self.history.accepted
            is_repeated = attempt > first
            self._between.wait_to_repeat(Missed("train", accepted, fewest, failures, is_repeated))

    def _attempt(
        self, number: int, attempt: int, failures: list[Failure], *, is_last: bool
    ) -> QuorumError | None:
        """Do a round, or leave it out; give why neither was done, where too few were there."""
        pooled = self._evaluation.no_sums() if self._evaluation.is_due(number - 1) else None
        try:
            collected = self._train(number, attempt, pooled, failures)
        except RoundLostError as error:
            self._drop(number, attempt, failures, error)
        except QuorumError as error:
            self._sum.clear()
            if not (is_last and are_for_good(failures)):
                told = told_failures(failures, number, attempt)
                self._record.add("round.abandoned", round=number, attempt=attempt, failures=told)
                # A new one: the frames of the other hold vectors, and the wait may be long.
                return type(error)(str(error), hint=error.hint)
            self._drop(number, attempt, failures, error)
        else:
            told = told_failures(failures, number, attempt)
            self._commit(number, attempt, collected, told, pooled)
        return None

    def _train(
        self, number: int, attempt: int, pooled: PooledSums | None, failures: list[Failure]
    ) -> Collected:
        due = pooled is not None
        buffers = {messages.WEIGHTS: self._model.weights, **self._sum.beside_weights()}
        if due and self._model.averaged is not None:
            buffers[messages.EVALUATED_WEIGHTS] = self._model.averaged
        accepted = self.history.accepted
        sites = [SiteId(s) for s, terms in accepted.items() if terms["trains"]]
        counted = last_counted_rounds(self._job, self.history.participants, sites)
        message = messages.TrainRound(due, counted)
        subject = subject_of(self._setup, number, attempt)
        question = question_of("train.round", message, subject, buffers)
        self._sum.clear()

        def require_enough(present: list[str]) -> None:
            told, what = told_failures(failures, number, attempt), f"round {number}"
            require_quorum(self._job.quorum, accepted, present, what=what, failures=told)

        asked = Asked(question, sites, failures)
        collected = self._collection.train(asked, accepted, self._sum, pooled, require_enough)
        self._sum.require_enough(f"round {number}")
        return collected

    def _drop(self, number: int, attempt: int, failures: list[Failure], error: QuorumError) -> None:
        """Leave a round out: its sum is lost, and no site repeats it. The weights stay.

        Raises:
            RoundLostError: So many in a row were left out that the next one would be as well.
        """
        self._sum.clear()
        told = told_failures(failures, number, attempt)
        self._leave_out(number, str(error), attempt=attempt, failures=told)

    def _leave_out(self, number: int, why: str, **told: Any) -> None:
        self._record.add("round.dropped", round=number, **told)
        self._collection.committed()
        self._evaluation.tell(told.get("evaluation"), told.get("best"))
        self._model.round = number
        self._observer.note(f"round {number} is left out: {why}")
        require_worth_going_on(self.history.participants, self._job.quorum.attempts, why)

    def _commit(
        self,
        number: int,
        attempt: int,
        collected: Collected,
        failures: list[dict[str, Any]],
        pooled: PooledSums | None,
    ) -> None:
        evaluation, best = self._evaluation.judge(number - 1, pooled)
        verdict = self._gate.commit(self._sum, self._model, number)
        told = {} if verdict is None else {"hold_out": verdict.to_entry()}
        if verdict is not None and verdict.is_rejected:
            self._leave_out(
                number, str(verdict), code=HOLD_OUT_REJECTED, attempt=attempt,
                sites=collected.sites, failures=failures, evaluation=evaluation, best=best,
                seconds=self._record.seconds(), **told,
            )  # fmt: skip
            return
        name, digest = self._store.save(self._model)
        self._record.add(
            "round.committed",
            round=number,
            attempt=attempt,
            participants=collected.sites,
            failures=failures,
            aggregation=collected.aggregation,
            file=name,
            sha256=digest,
            evaluation=evaluation,
            best=best,
            seconds=self._record.seconds(),
            **told,
        )
        self._collection.committed()
        self._store.prune(self.history)
        self._observer.round_committed(number, collected.sites, failures)
        self._evaluation.tell(evaluation, best)
        self._tell_clipped(number)

    def _tell_clipped(self, number: int) -> None:
        """Say once that updates did not fit."""
        if self.history.values_clipped and not self._told_clipped:
            self._told_clipped = True
            value_range = self._job.secure_aggregation.value_range
            self._observer.note(clipped_text(number, self.history.values_clipped, value_range))

    def _goes_on(self) -> bool:
        """Decide before each round, so that a run killed after a commit decides the same."""
        if self.history.stopped_early or self.history.round >= self._job.job.rounds:
            return False
        patience = self._job.evaluation.early_stopping_evaluations
        best = self.history.best
        if not should_stop(patience, best["round"] if best else None, self.history.evaluations):
            return True
        self._record.add("run.stopped-early", round=self.history.round)
        return False

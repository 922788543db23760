"""The rounds of one run, from whatever its journal says was done to its end.

Every step is durable before the next begins, and everything random derives from the run's seed, so
a run that was killed anywhere and goes on gives the same weights, bit for bit. Weights of round r
are evaluated in the exchange of round r + 1 (the last round's in an exchange of their own); the
test split is asked once, with the weights that were best on pooled validation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedward_common.clock import Clock
from fedward_common.errors import CorruptFileError, FedwardError, QuorumError
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, hash_of_array
from fedward_common.wire.flower_records import array_record_of_buffers
from fedward_server.coordinator.checkpoints import CheckpointStore
from fedward_server.coordinator.exchange import (
    UNEXPECTED_ANSWER,
    Answer,
    Exchange,
    Failure,
    Question,
)
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.observer import RunObserver
from fedward_server.coordinator.pooled_evaluation import PooledSums, figures_of, thresholds_of
from fedward_server.coordinator.quorum import require_quorum, terms_of
from fedward_server.coordinator.round_sum import round_sum_of
from fedward_server.coordinator.run_journal import (
    RunHistory,
    RunJournal,
    apply_entry,
    packed,
    replay,
)
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.selection import is_best, should_stop
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
        self._journal = journal
        self._observer = observer
        self._clock = clock
        self._started = clock.now_seconds()
        self._store = CheckpointStore(setup.folder)
        self.history = replay(journal.entries())
        self._seconds_before = self.history.seconds
        self._model = self._restored_model()
        self._sum = round_sum_of(setup, self._model)

    def run(self) -> RunHistory:
        """Do what is left of the run.

        Raises:
            QuorumError: Too few sites; everything committed before is kept.
        """
        if self.history.finished:
            return self.history
        self._accept()
        while self._goes_on():
            self._run_round(self.history.round + 1)
        self._evaluate_last_round()
        self._evaluate_on_test()
        self._record("run.finished", seconds=self._seconds())
        self._store.prune(self.history)
        return self.history

    def _restored_model(self) -> GlobalModel:
        strategy = self._job.strategy
        weights = self._setup.initial_weights().tobytes()
        optimizer = build_server_optimizer(strategy, len(weights) // 4)
        model = GlobalModel(weights, optimizer, strategy.ema_decay)
        del weights
        if self.history.checkpoints:
            passed_over = self._store.restore_newest(model, self.history)
            for line in passed_over:
                self._observer.note(f"{line}; the checkpoint before it is used")
            if model.round < self.history.round:
                self._record("run.rewound", round=model.round, passed_over=passed_over)
        return model

    def _record(self, kind: str, **fields: Any) -> None:
        self._journal.append(kind, **fields)
        apply_entry(self.history, {"kind": kind, **fields})

    def _seconds(self) -> float:
        return self._seconds_before + self._clock.now_seconds() - self._started

    def _subject(self, number: int = 0, attempt: int = 0, *, manifest: bool = True) -> Subject:
        setup = self._setup
        return Subject(
            setup.manifest.consortium,
            setup.manifest.run,
            setup.manifest_sha256 if manifest else "",
            number,
            attempt,
        )

    def _question(
        self,
        flower_type: str,
        message: messages.Message,
        subject: Subject,
        buffers: Mapping[str, bytes],
    ) -> Question:
        hashes = {n: hash_of_array(np.frombuffer(b, np.float32)) for n, b in buffers.items()}
        record = array_record_of_buffers(buffers, hashes)
        return Question(flower_type, subject, message, record, hashes)

    # -- who takes part ------------------------------------------------------------------------

    def _accept(self) -> None:
        query = messages.ManifestQuery(self._setup.manifest_bytes)
        question = self._question("query.manifest", query, self._subject(manifest=False), {})
        accepted: dict[str, Any] = {}
        failures: list[dict[str, Any]] = []
        outcomes = self._exchange.find_sites(question, self._job.quorum.deadline_seconds)
        for outcome in outcomes:
            terms = self._terms(outcome)
            if isinstance(terms, Failure):
                failures.append(_failure(terms, 0, 0))
            else:
                accepted[outcome.site] = terms
        # Recorded only with a quorum: else sites that are mended later could never join the run.
        known = self.history.accepted or accepted
        present = [site for site in accepted if site in known]
        require_quorum(self._job.quorum, known, present, what="the run", failures=failures)
        if not self.history.accepted:
            self._record("run.accepted", accepted=accepted, failures=failures)
        self._observer.accepted(known, failures)

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
        for attempt in range(first, last + 1):
            self._observer.round_begins(number, attempt)
            pooled = PooledSums.empty(self._job.task, num_sites=len(self.history.accepted))
            participants, failures = self._train(number, attempt, pooled)
            try:
                require_quorum(
                    self._job.quorum,
                    self.history.accepted,
                    participants,
                    what=f"round {number}",
                    failures=failures,
                )
                self._sum.require_enough(f"round {number}")
            except QuorumError:
                self._sum.clear()
                self._record("round.abandoned", round=number, attempt=attempt, failures=failures)
                if attempt == last:
                    raise
                continue
            self._commit(number, attempt, participants, failures, pooled)
            return

    def _train(
        self, number: int, attempt: int, pooled: PooledSums
    ) -> tuple[list[str], list[dict[str, Any]]]:
        due = self._is_due(number - 1)
        buffers = {messages.WEIGHTS: self._model.weights}
        if due and self._model.averaged is not None:
            buffers[messages.EVALUATED_WEIGHTS] = self._model.averaged
        question = self._question(
            "train.round", messages.TrainRound(due), self._subject(number, attempt), buffers
        )
        self._sum.clear()
        participants: list[str] = []
        failures: list[dict[str, Any]] = []
        sites = [SiteId(s) for s, terms in self.history.accepted.items() if terms["trains"]]
        for outcome in self._exchange.ask(question, sites, self._job.quorum.deadline_seconds):
            failed = self._take_training(outcome, pooled if due else None)
            if failed is None:
                participants.append(outcome.site)
            else:
                failures.append(_failure(failed, number, attempt))
        return participants, failures

    def _take_training(
        self, outcome: Answer | Failure, pooled: PooledSums | None
    ) -> Failure | None:
        if isinstance(outcome, Failure):
            return outcome
        wanted = {self._sum.contribution} | ({messages.SUMS} if pooled else set())
        if not isinstance(outcome.message, messages.TrainReply) or set(outcome.arrays) != wanted:
            return Failure(outcome.site, UNEXPECTED_ANSWER)
        try:
            total = pooled.with_sums(outcome.arrays[messages.SUMS]) if pooled else None
            weight = self.history.accepted[outcome.site]["weight"]
            self._sum.add(outcome.arrays[self._sum.contribution], weight)
        except FedwardError as error:
            return Failure(outcome.site, error.code)
        if pooled is not None and total is not None:
            pooled.take(outcome.site, total)
        return None

    def _commit(
        self,
        number: int,
        attempt: int,
        participants: list[str],
        failures: list[dict[str, Any]],
        pooled: PooledSums,
    ) -> None:
        evaluation, best = self._judge(number - 1, pooled)
        self._sum.commit(number)
        name, digest = self._store.save(self._model)
        self._record(
            "round.committed",
            round=number,
            attempt=attempt,
            participants=participants,
            failures=failures,
            file=name,
            sha256=digest,
            evaluation=evaluation,
            best=best,
            seconds=self._seconds(),
        )
        self._store.prune(self.history)
        self._observer.round_committed(number, participants, failures)
        self._tell(evaluation, best)

    # -- evaluation ----------------------------------------------------------------------------

    def _is_due(self, number: int) -> bool:
        return number > 0 and number % self._job.evaluation.every == 0

    def _judge(
        self, number: int, pooled: PooledSums
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Make the evaluation of a round's weights, and keep these if none were better."""
        if not pooled.sites:
            return None, None
        thresholds = thresholds_of(pooled.sums)
        figures = figures_of(pooled.sums, self._job.task, thresholds, split="validation")
        evaluation = {
            "round": number,
            "figures": figures,
            "sites": pooled.sites,
            "seconds": self._seconds(),
        }
        metric = self._job.selection_metric
        if not is_best(metric, evaluation, self.history.evaluations):
            return evaluation, None
        best = self._store.save_best(number, self._model.evaluated)
        best |= {"round": number, "value": figures[metric]["value"]}
        return evaluation, best | {"sums": packed(pooled.sums.to_vector())}

    def _tell(self, evaluation: dict[str, Any] | None, best: dict[str, Any] | None) -> None:
        if evaluation is not None:
            self._observer.evaluated(
                evaluation["round"], evaluation["figures"], best=best is not None
            )

    def _goes_on(self) -> bool:
        """Decide before each round, so that a run killed after a commit decides the same."""
        if self.history.stopped_early or self.history.round >= self._job.job.rounds:
            return False
        patience = self._job.evaluation.early_stopping_evaluations
        best = self.history.best
        if not should_stop(patience, best["round"] if best else None, self.history.evaluations):
            return True
        self._record("run.stopped-early", round=self.history.round)
        return False

    def _evaluate_last_round(self) -> None:
        last = self.history.round
        if any(e["round"] == last for e in self.history.evaluations) or self.history.final:
            return
        trainers = [SiteId(s) for s, t in self.history.accepted.items() if t["trains"]]
        pooled, failures = self._evaluate("validation", self._model.evaluated, trainers)
        evaluation, best = self._judge(last, pooled)
        self._record(
            "evaluation.validation",
            evaluation=evaluation,
            best=best,
            failures=failures,
            seconds=self._seconds(),
        )
        self._tell(evaluation, best)

    def _evaluate(
        self, split: str, weights: bytes, sites: list[SiteId]
    ) -> tuple[PooledSums, list[dict[str, Any]]]:
        last = self.history.round
        final = split == "test"
        message = messages.EvaluateWeights("test" if final else "validation")
        question = self._question(
            "evaluate.final" if final else "evaluate.validation",
            message,
            self._subject(last, 0),
            {messages.WEIGHTS: weights},
        )
        pooled = PooledSums.empty(self._job.task, num_sites=len(self.history.accepted))
        failures = []
        for outcome in self._exchange.ask(question, sites, self._job.quorum.deadline_seconds):
            failed = _take_sums(outcome, pooled)
            if failed is not None:
                failures.append(_failure(failed, last, 0))
        return pooled, failures

    def _evaluate_on_test(self) -> None:
        if self.history.final is not None:
            return
        selected, weights = self._selected_weights()
        sites = [SiteId(s) for s in self.history.accepted]
        pooled, failures = self._evaluate("test", weights, sites)
        if not pooled.sites:
            codes = ", ".join(f"{f['site']}: {f['code']}" for f in failures)
            raise QuorumError(
                f"no site evaluated the selected weights on its test patients ({codes})",
                hint="all rounds are kept; mend the sites and go on with --resume",
            )
        final = {
            "selected": selected,
            "sites": pooled.sites,
            "sums": packed(pooled.sums.to_vector()),
        }
        self._record("evaluation.final", final=final, failures=failures, seconds=self._seconds())

    def _selected_weights(self) -> tuple[dict[str, Any], bytes]:
        for best in reversed(self.history.bests):
            try:
                return best, self._store.load_weights(best).tobytes()
            except CorruptFileError as error:
                self._observer.note(f"{error}; the best weights before it are used")
        last = self.history.round
        selected = self._store.save_best(last, self._model.evaluated)
        selected |= {"round": last, "value": None, "sums": None}
        return selected, self._model.evaluated


def _take_sums(outcome: Answer | Failure, pooled: PooledSums) -> Failure | None:
    if isinstance(outcome, Failure):
        return outcome
    expected = isinstance(outcome.message, messages.EvaluateReply)
    if not expected or set(outcome.arrays) != {messages.SUMS}:
        return Failure(outcome.site, UNEXPECTED_ANSWER)
    try:
        pooled.take(outcome.site, pooled.with_sums(outcome.arrays[messages.SUMS]))
    except FedwardError as error:
        return Failure(outcome.site, error.code)
    return None


def _failure(outcome: Answer | Failure, number: int, attempt: int) -> dict[str, Any]:
    code = outcome.code if isinstance(outcome, Failure) else UNEXPECTED_ANSWER
    return {"round": number, "attempt": attempt, "site": outcome.site, "code": code}

"""How the contributions of a round, or the sums of an evaluation, come together.

`OpenCollection` takes each site's answer as it comes; `SecureCollection` sees what they add up to.
The round loop does not know which of the two it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fedward_common.errors import FedwardError, QuorumError
from fedward_common.identities import SiteId
from fedward_common.round_vault import RoundVault
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.layout import (
    CLIPPED,
    SUMS,
    WEIGHT,
    WEIGHT_ONE,
    ContributionLayout,
    evaluation_layout,
    fewest_ready_sites,
    training_layout,
)
from fedward_common.secagg.rounds_in_memory import may_be_in_memory
from fedward_common.secagg.thresholds import abandonments_needed
from fedward_common.wire import messages
from fedward_server.coordinator.between_attempts import BetweenAttempts
from fedward_server.coordinator.exchange import (
    UNEXPECTED_ANSWER,
    Answer,
    Exchange,
    Failure,
    Question,
)
from fedward_server.coordinator.masked_totals import AttemptFiles, attempt_folder
from fedward_server.coordinator.pooled_evaluation import PooledSums
from fedward_server.coordinator.quorum import Accepted
from fedward_server.coordinator.round_failures import (
    NO_SITE,
    RoundForgottenError,
    RoundLostError,
)
from fedward_server.coordinator.round_sum import MaskedTotal, RoundSum
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.secure_sum import (
    RequireEnough,
    SecureAttempt,
    SecureSum,
)

# What is left of the masked totals of the last round, unreadable, for those of the next.
_SPARE = ".spare-totals"


@dataclass
class Asked:
    """One question to several sites; whoever failed is added to `failures`."""

    question: Question
    sites: list[SiteId]
    failures: list[Failure]


@dataclass(frozen=True)
class Collected:
    """What the journal keeps of a collected round.

    Attributes:
        sites: Whose contributions are in the sum.
        aggregation: How they were added up, where they came masked: `sites_ready`, `threshold`,
            `values_clipped`, `wrong_shares`.
    """

    sites: list[str]
    aggregation: Mapping[str, int] | None = None


class Collection(Protocol):
    """Brings together what sites answer."""

    def train(
        self,
        asked: Asked,
        terms: Accepted,
        total: RoundSum,
        pooled: PooledSums | None,
        require_enough: RequireEnough,
    ) -> Collected:
        """Collect one attempt at a round into `total`, and what was evaluated into `pooled`.

        Args:
            asked: The attempt.
            terms: Of the sites that accepted the run.
            total: Empty before.
            pooled: Where sums over validation patients were asked for.
            require_enough: Raises `QuorumError` for sites that are too few to look at their sum.

        Raises:
            QuorumError: There is no sum; another attempt may be made.
            RoundLostError: There is none, and the sites do not repeat the round.
        """

    def evaluate(self, asked: Asked, split: messages.SecurePurpose, pooled: PooledSums) -> None:
        """Collect sums over one split into `pooled`.

        Args:
            asked: The attempt.
            split: Over which.
            pooled: Empty before.

        Raises:
            QuorumError: There is no sum; another attempt may be made.
        """

    def fewest_to_repeat(self, purpose: messages.SecurePurpose) -> int:
        """Give how many sites another attempt cannot do without, whatever the quorum."""

    def committed(self) -> None:
        """Destroy what was kept of the last sum: the journal has what came of it."""


def collection_of(setup: RunSetup, exchange: Exchange, between: BetweenAttempts) -> Collection:
    """Give the collection that the job asks for.

    Args:
        setup: Of the run.
        exchange: Asks sites.
        between: Waits before the last step of a sum is asked for again.

    Raises:
        ConfigurationError: Bits, range and number of sites leave too few fraction bits.
    """
    if setup.job.secure_aggregation.enabled:
        return SecureCollection(setup, exchange, between)
    return OpenCollection(setup, exchange)


class OpenCollection:
    """Each site's answer is taken by itself, and dropped before the next where it is added up."""

    def __init__(self, setup: RunSetup, exchange: Exchange) -> None:
        self._exchange = exchange
        self._deadline = setup.job.quorum.deadline_seconds

    def train(
        self,
        asked: Asked,
        terms: Accepted,
        total: RoundSum,
        pooled: PooledSums | None,
        require_enough: RequireEnough,
    ) -> Collected:
        """Add up what comes."""
        participants: list[str] = []
        for outcome in self._exchange.ask(asked.question, asked.sites, self._deadline):
            failed = _take_training(outcome, terms, total, pooled)
            if failed is None:
                participants.append(outcome.site)
            else:
                asked.failures.append(failed)
            del outcome  # or its vector would live on while the next one is pulled
        require_enough(participants)
        return Collected(participants)

    def evaluate(self, asked: Asked, split: messages.SecurePurpose, pooled: PooledSums) -> None:
        """Add up what comes."""
        for outcome in self._exchange.ask(asked.question, asked.sites, self._deadline):
            failed = _take_sums(outcome, pooled)
            if failed is not None:
                asked.failures.append(failed)

    def fewest_to_repeat(self, purpose: messages.SecurePurpose) -> int:
        """One: no site's part depends on another's."""
        return 1

    def committed(self) -> None:
        """Nothing was kept."""


class SecureCollection:
    """The coordinator relays, and sees one sum.

    Args:
        setup: Of a run with secure aggregation on.
        exchange: Asks sites.
        between: Waits before the last step is asked for again.
    """

    def __init__(self, setup: RunSetup, exchange: Exchange, between: BetweenAttempts) -> None:
        self._setup, self._exchange, self._between = setup, exchange, between
        self._kept: SecureAttempt | None = None
        self._abandonments_needed = 0
        manifest = setup.manifest
        self._trainers = [SiteId(name) for name in manifest.training_sites]
        # Made once: the constants of the joint mechanism take a calibration.
        self._training_layouts = {
            due: training_layout(
                setup.job, len(self._trainers), manifest.num_parameters, evaluates=due
            )
            for due in (False, True)
        }

    def train(
        self,
        asked: Asked,
        terms: Accepted,
        total: RoundSum,
        pooled: PooledSums | None,
        require_enough: RequireEnough,
    ) -> Collected:
        """Bring one attempt to its sum, which is looked at only if the quorum is met."""
        layout = self._training_layouts[pooled is not None]
        attempt = self._attempt("train", asked, layout, self._trainers)
        secure = self._collect(attempt, asked, require_enough)
        self._take_words(secure, layout, terms, total)
        if pooled is not None:
            _take_total(secure, pooled, asked)
        return Collected(
            secure.sites,
            {
                "sites_ready": secure.num_ready,
                "threshold": secure.threshold,
                "values_clipped": int(secure.lane[CLIPPED][0]),
                "wrong_shares": secure.num_wrong_shares,
            },
        )

    def evaluate(self, asked: Asked, split: messages.SecurePurpose, pooled: PooledSums) -> None:
        """Bring one attempt at the sums of a split to its end."""
        sites = list(self._setup.roster.sites) if split == "test" else self._trainers
        layout = evaluation_layout(self._setup.job, len(sites))
        attempt = self._attempt(split, asked, layout, sites)
        _take_total(self._collect(attempt, asked, lambda _: None), pooled, asked)
        if split == "test":  # the last question of a run
            (self._setup.folder / _SPARE).unlink(missing_ok=True)

    def fewest_to_repeat(self, purpose: messages.SecurePurpose) -> int:
        """Give how many must be READY, and how many must give up what was masked before."""
        num_trainers = len(self._setup.manifest.training_sites)
        fewest = fewest_ready_sites(self._setup.job, purpose, num_trainers)
        return max(fewest, self._abandonments_needed)

    def committed(self) -> None:
        """Destroy masked totals and shares."""
        self._abandonments_needed = 0
        if self._kept is not None:
            self._kept.forget()
            self._kept = None

    def _attempt(
        self,
        purpose: messages.SecurePurpose,
        asked: Asked,
        layout: ContributionLayout,
        participants: list[SiteId],
    ) -> SecureAttempt:
        # It outlives a kill, not a power cut: a sum that was lost costs a round, and never more.
        folder = self._setup.folder
        spare = folder / _SPARE if purpose == "train" else None
        vault = RoundVault(attempt_folder(folder, purpose), durable=False, spare=spare)
        return SecureAttempt(
            self._setup,
            self._exchange,
            self._between,
            purpose,
            asked.question,
            layout,
            frozenset(participants),
            AttemptFiles(vault, keeps=not self._is_in_memory(purpose)),
            asked.failures,
        )

    def _is_in_memory(self, purpose: messages.SecurePurpose) -> bool:
        """Whether sites, asked now, keep a round of this purpose in memory alone."""
        setup = self._setup
        return (
            self._exchange.has_rounds_in_memory
            and purpose == "train"
            and may_be_in_memory(setup.job, setup.manifest.num_parameters)
        )

    def _is_forgotten(self, attempt: SecureAttempt) -> bool:
        """Whether sites that kept an attempt in memory have lost it since."""
        return not attempt.files.keeps and not self._is_in_memory(attempt.purpose)

    def _collect(
        self, attempt: SecureAttempt, asked: Asked, require_enough: RequireEnough
    ) -> SecureSum:
        self._kept = attempt
        deadline = self._setup.job.quorum.deadline_seconds

        def require_enough_who_remember(present: list[str]) -> None:
            # Whoever is left would end a round that the others have lost through no fault of
            # theirs; asked again, all do it, and from their disks.
            if self._is_forgotten(attempt):
                raise _forgotten(asked)
            require_enough(present)

        try:
            return attempt.collect(asked.sites, deadline, require_enough_who_remember)
        except QuorumError as error:
            is_forgotten = self._is_forgotten(attempt)
            if isinstance(error, RoundLostError) and not is_forgotten:
                raise
            attempt.abandon(asked.sites)
            attempt.forget()
            self._kept = None
            # Of the last that masked: whoever masked before gave that up to be in it.
            if attempt.num_masking:
                self._abandonments_needed = abandonments_needed(attempt.num_masking)
            if is_forgotten:  # also by sites that unmasked it, so the sum is had again
                raise _forgotten(asked) from error
            raise
        finally:
            if self._is_forgotten(attempt):  # whose round is closed to them by no fault of theirs
                asked.failures[:] = [f for f in asked.failures if f.code != codes.CLOSED]

    def _take_words(
        self, secure: SecureSum, layout: ContributionLayout, terms: Accepted, total: RoundSum
    ) -> None:
        weights = [terms[site]["weight"] for site in secure.sites]
        claimed, expected = int(secure.lane[WEIGHT][0]), sum(round(w * WEIGHT_ONE) for w in weights)
        if claimed != expected:
            raise _lost("the sites' weights are not those of their published bands")
        if layout.words is None:
            raise _lost("a round of training has words")
        try:
            total.take(MaskedTotal(secure.words, layout.words, len(secure.sites), sum(weights)))
        except FedwardError as error:
            raise _lost(str(error)) from error


def _take_training(
    outcome: Answer | Failure, terms: Accepted, total: RoundSum, pooled: PooledSums | None
) -> Failure | None:
    if isinstance(outcome, Failure):
        return outcome
    wanted = total.contribution | ({messages.SUMS} if pooled else set())
    if not isinstance(outcome.message, messages.TrainReply) or set(outcome.arrays) != wanted:
        return Failure(outcome.site, UNEXPECTED_ANSWER)
    try:
        sums = pooled.with_sums(outcome.arrays[messages.SUMS]) if pooled else None
        total.add(outcome.arrays, terms[outcome.site]["weight"])
    except FedwardError as error:
        return Failure(outcome.site, error.code)
    if pooled is not None and sums is not None:
        pooled.take(outcome.site, sums)
    return None


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


def _take_total(secure: SecureSum, pooled: PooledSums, asked: Asked) -> None:
    """Take sums of all sites at once; a wrong number costs the evaluation, not the round."""
    try:
        pooled.take_total(secure.sites, secure.lane[SUMS])
    except FedwardError as error:
        asked.failures.append(Failure(NO_SITE, error.code))


def _forgotten(asked: Asked) -> RoundForgottenError:
    """Say why an attempt is repeated whose sites have lost it."""
    return RoundForgottenError(
        f"round {asked.question.subject.round}: a worker ended, and with it what sites had of it",
        hint="all sites do it again, and keep their rounds on disk from now on",
    )


def _lost(why: str) -> RoundLostError:
    return RoundLostError(
        f"the sum of the round is of no use: {why}",
        hint="a site sent what it should not have; the next round goes on from the same weights",
    )

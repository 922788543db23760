"""One sum over sites, and nothing else of them: READY, share, mask, confirm if need be, unmask.

This is the I/O around `secagg_coordinator`: it asks, takes what comes, and writes down what a crash
must not lose. Once the survivors are fixed, the masked totals and the state of the attempt are on
disk, so a coordinator that was killed goes on with the same survivors to the same sum. Before that
nothing is lost with it: members answer the same request with the same bytes. (A simulation whose
sites would forget the round as well writes nothing: `AttemptFiles.keeps`.)
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import FedwardError, QuorumError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import (
    ContributionLayout,
    fewest_ready_sites,
)
from fedward_common.secagg.messages import encode_abandonments
from fedward_common.secagg.signed_items import verify_abandonment
from fedward_common.secagg.thresholds import threshold_of
from fedward_common.wire import messages
from fedward_common.wire.flower_records import array_record_of_buffers
from fedward_server import secagg_coordinator as machine
from fedward_server.coordinator.between_attempts import BetweenAttempts
from fedward_server.coordinator.exchange import (
    LATE,
    Answer,
    Exchange,
    Failure,
    Question,
)
from fedward_server.coordinator.masked_totals import AttemptFiles, MaskedTotals
from fedward_server.coordinator.round_failures import RoundLostError
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.secure_answers import (
    binding_of,
    failure_of,
    is_reply,
    signed_beside,
)
from fedward_server.coordinator.site_link import NODE_UNAVAILABLE

RequireEnough = Callable[[list[str]], None]


@dataclass
class SecureSum:
    """What the sites of one attempt add up to.

    Attributes:
        sites: Whose contributions are in it.
        words: Sum of the ring elements; empty for an evaluation.
        lane: Sums of the lane's fields, by name.
        num_ready: Sites in the directory.
        threshold: Of them had to stay to the end.
        num_wrong_shares: That were found on the way; their maker or their holder lied.
    """

    sites: list[str]
    words: Words
    lane: Mapping[str, NDArray[np.int64]]
    num_ready: int
    threshold: int
    num_wrong_shares: int


@dataclass
class SecureAttempt:
    """One attempt at one sum.

    Args:
        setup: Of the run.
        exchange: Asks sites.
        between: Waits before the last step is asked for again.
        purpose: What the sum is for.
        question: The request whose answer is READY; the attempt's round and number are its.
        layout: Of what comes.
        participants: Who may be in it, by the manifest.
        files: Where it is kept from the moment the survivors are fixed.
        failures: The caller's list; one is added for each site that falls out on the way.

    Attributes:
        num_masking: Sites of the directory, once they were asked to mask.
    """

    setup: RunSetup
    exchange: Exchange
    between: BetweenAttempts
    purpose: messages.SecurePurpose
    question: Question
    layout: ContributionLayout
    participants: frozenset[SiteId]
    files: AttemptFiles
    failures: list[Failure] = field(default_factory=list)
    num_masking: int = field(default=0, init=False)

    def collect(
        self, sites: list[SiteId], deadline_seconds: float, require_enough: RequireEnough
    ) -> SecureSum:
        """Bring the attempt to its sum.

        Args:
            sites: Whom to ask.
            deadline_seconds: For READY; the steps after it have the job's own.
            require_enough: Raises `QuorumError` for a set of sites that the job does not want.

        Raises:
            QuorumError: Too few sites; nothing was unmasked, and the attempt is to be abandoned.
            RoundLostError: Too few answered the last step.
        """
        kept = self.files.load(self._binding, self._rules, self.layout)
        if kept is None:
            self.files.forget()  # of an attempt that is over, or damaged
            state, totals = self._mask(self._share(self._open(sites, deadline_seconds)))
            require_enough([str(site) for site in state.survivors])
            self.files.keep_totals(state.binding, totals)
            self.files.keep_state(state)
        else:
            state, totals = kept
            self.num_masking = len(state.directory.sites)
        state = self._unmask(self._confirm(state))
        try:
            wrong = machine.remove_masks(state, totals.words, totals.lane)
            lane = self.layout.lane.decode(totals.lane, num_sites=len(state.survivors))
        except FedwardError as error:
            raise RoundLostError(str(error), hint=error.hint) from error
        return SecureSum(
            sites=[str(site) for site in state.survivors],
            words=totals.words,
            lane=lane,
            num_ready=len(state.directory.sites),
            threshold=state.threshold,
            num_wrong_shares=len(wrong),
        )

    def abandon(self, sites: list[SiteId]) -> None:
        """Have sites give the attempt up for good, and show each that enough others did."""
        self._abandon(self.question.subject.attempt, sites)

    def forget(self) -> None:
        """Destroy what was kept, once the sum is committed or the attempt abandoned."""
        self.files.forget()

    # -- the steps -----------------------------------------------------------------------------

    def _open(self, sites: list[SiteId], deadline_seconds: float) -> machine.AttemptState:
        keys, refused = self._ready(sites, deadline_seconds)
        held_back = [failed.site for failed in refused if failed.code == codes.MASKED_BEFORE]
        if held_back:
            # An earlier attempt was left before all had given it up: it is made up for now.
            for earlier in reversed(range(self.question.subject.attempt)):
                self._abandon(earlier, sites)
            more, still = self._ready(held_back, deadline_seconds)
            keys |= more
            refused = [failed for failed in refused if failed.site not in held_back] + still
        self._note(refused)
        try:
            state, left_out = machine.open_directory(self._rules, self._binding, keys)
        except FedwardError as error:
            raise self._too_few("READY", error) from error
        self._note([Failure(site, code) for site, code in left_out.items()])
        return state

    def _ready(
        self, sites: list[SiteId], deadline_seconds: float
    ) -> tuple[dict[SiteId, bytes], list[Failure]]:
        keys: dict[SiteId, bytes] = {}
        refused: list[Failure] = []
        asked = dict.fromkeys(sites, self.question)
        for outcome in self.exchange.ask_each(asked, deadline_seconds, as_they_come=True):
            reply = outcome.message if isinstance(outcome, Answer) else None
            if isinstance(reply, messages.SecureReady):
                keys[outcome.site] = reply.keys
                # While others are at work yet: `signed_items` remembers which signatures and keys
                # fitted, so `open_directory` need not check them again. It says what did not.
                with contextlib.suppress(FedwardError):
                    machine.verify_ready(self._rules, self._binding, outcome.site, reply.keys)
            else:
                refused.append(failure_of(outcome))
        return keys, refused

    def _abandon(self, attempt: int, sites: list[SiteId]) -> None:
        signed = self._abandonments(attempt, sites)
        if not signed:
            return
        question = self._step("abandoned", encode_abandonments(signed), attempt)
        for _ in self.exchange.ask(question, sites, self._deadline):
            pass

    def _abandonments(self, attempt: int, sites: list[SiteId]) -> list[bytes]:
        """Give what sites signed; one that does not hold would spoil the list for all."""
        binding_sha256 = replace(self._binding, attempt=attempt).sha256
        signed = []
        question = self._step("abandon", b"", attempt)
        for outcome in self.exchange.ask(question, sites, self._deadline):
            if not is_reply(outcome, "abandon", set()):
                continue
            item = outcome.message.body  # type: ignore[union-attr]
            try:
                named = verify_abandonment(item, self.setup.roster, binding_sha256)
            except FedwardError as error:
                self._failed(Failure(outcome.site, error.code))
                continue
            if named == outcome.site:
                signed.append(item)
        return signed

    def _share(self, state: machine.AttemptState) -> machine.AttemptState:
        question = self._step("share", machine.share_request(state))
        asked = dict.fromkeys(state.directory.sites, question)
        state, _ = self._take_all(state, "share", asked, machine.take_share)
        try:
            return machine.fix_sharers(state)
        except FedwardError as error:
            raise self._too_few("share", error) from error

    def _mask(self, state: machine.AttemptState) -> tuple[machine.AttemptState, MaskedTotals]:
        requests = machine.mask_requests(state)
        self.num_masking = len(state.directory.sites)
        questions = {site: self._step("mask", body) for site, body in requests.items()}
        totals = MaskedTotals.empty(self.layout)
        signed: dict[SiteId, bytes] = {}
        failures: list[Failure] = []
        for outcome in self.exchange.ask_each(questions, self._deadline, as_they_come=True):
            failure = self._add(outcome, totals)
            if failure is None:
                signed[outcome.site] = signed_beside(outcome)
                # While others mask yet, as in `_ready`.
                with contextlib.suppress(FedwardError):
                    machine.verify_in_advance(state, outcome.site, signed[outcome.site])
            else:
                failures.append(failure)
            del outcome  # or its vector would live on while the next one is pulled
        self._note(failures)
        try:
            state = machine.fix_survivors(state, signed)
            return machine.take_confirmations_in_advance(state, signed), totals
        except FedwardError as error:
            raise self._too_few("mask", error) from error

    def _add(self, outcome: Answer | Failure, totals: MaskedTotals) -> Failure | None:
        """Add what one site sent; where that cannot be, give why."""
        if not is_reply(outcome, "mask", {messages.MASKED, messages.LANE}):
            return failure_of(outcome)
        try:
            totals.add(outcome.arrays, self.layout)  # type: ignore[union-attr]
        except FedwardError as error:
            return Failure(outcome.site, error.code)
        return None

    def _confirm(self, state: machine.AttemptState) -> machine.AttemptState:
        if len(state.confirmed) >= state.threshold:
            return state
        question = self._step("confirm", machine.confirm_request(state))
        asked = dict.fromkeys(state.survivors, question)
        state, _ = self._take_all(state, "confirm", asked, machine.take_confirmation)
        if len(state.confirmed) < state.threshold:
            raise self._too_few("confirm", None)
        self.files.keep_state(state)  # others' signatures would be a different last request
        return state

    def _unmask(self, state: machine.AttemptState) -> machine.AttemptState:
        if machine.has_enough_shares(state):
            return state
        question = self._step("unmask", machine.unmask_request(state))
        # Who reveals its shares closes the round for good: no other attempt replaces this step.
        for repeats_left in reversed(range(self.setup.job.quorum.attempts)):
            missing = [site for site in state.survivors if site not in state.unmasked]
            asked = dict.fromkeys(missing, question)
            state, failures = self._take_all(state, "unmask", asked, machine.take_unmask)
            self.files.keep_state(state)
            if machine.has_enough_shares(state):
                return state
            if not (repeats_left and self._wait_to_unmask(state, failures)):
                break
        raise RoundLostError(
            f"round {self.question.subject.round}: too few sites answered the last step",
            hint="nothing was revealed; mend the sites' links",
        )

    def _wait_to_unmask(self, state: machine.AttemptState, failures: list[Failure]) -> bool:
        """Wait for those whose line failed; say whether they could bring what is missing.

        They may not have come.
        """
        cut_off = {failed.site for failed in failures if failed.code in (NODE_UNAVAILABLE, LATE)}
        needed = machine.num_shares_missing(state)
        if len(cut_off) < needed:
            return False
        self.between.wait_for(cut_off, lambda there: len(cut_off.intersection(there)) >= needed)
        return True

    def _take_all(
        self,
        state: machine.AttemptState,
        step: messages.SecureStepName,
        questions: Mapping[SiteId, Question],
        take: Callable[[machine.AttemptState, SiteId, bytes], machine.AttemptState],
    ) -> tuple[machine.AttemptState, list[Failure]]:
        failures: list[Failure] = []
        for outcome in self.exchange.ask_each(questions, self._deadline, as_they_come=True):
            if not is_reply(outcome, step, set()):
                failures.append(failure_of(outcome))
                continue
            try:
                state = take(state, outcome.site, outcome.message.body)  # type: ignore[union-attr]
            except FedwardError as error:
                failures.append(Failure(outcome.site, error.code))
        self._note(failures)
        return state, failures

    def _note(self, failures: list[Failure]) -> None:
        """Note why sites fell out in a step, in the order of their names: they came in any."""
        for failed in sorted(failures, key=lambda failed: failed.site):
            self._failed(failed)

    def _failed(self, failure: Failure) -> None:
        """Note why a site is out of it: the first reason, which the others follow from."""
        if all(failure.site != known.site for known in self.failures):
            self.failures.append(failure)

    # -- what they are made of -----------------------------------------------------------------

    @property
    def _deadline(self) -> float:
        return self.setup.job.secure_aggregation.step_deadline_seconds

    @property
    def _rules(self) -> machine.CoordinatorRules:
        return machine.CoordinatorRules(
            roster=self.setup.roster,
            participants=self.participants,
            minimum_sites=fewest_ready_sites(
                self.setup.job, self.purpose, len(self.setup.manifest.training_sites)
            ),
            minimum_organisations=1,  # each site has its own least number of these
            max_sites=self.layout.lane.max_sites,
        )

    @property
    def _binding(self) -> RoundBinding:
        return binding_of(self.setup, self.setup.roster, self.purpose, self.question, self.layout)

    def _step(
        self, step: messages.SecureStepName, body: bytes, attempt: int | None = None
    ) -> Question:
        subject = self.question.subject
        if attempt is not None:
            subject = replace(subject, attempt=attempt)
        message = messages.SecureStep(step, self.purpose, body)
        return Question(f"query.{step}", subject, message, array_record_of_buffers({}), {})

    def _too_few(self, step: str, error: FedwardError | None) -> QuorumError:
        why = ", ".join(f"{failure.site}: {failure.code}" for failure in self.failures)
        reason = str(error) if error is not None else f"{step}: too few sites"
        return QuorumError(
            f"round {self.question.subject.round}: {reason}" + (f" ({why})" if why else ""),
            hint=f"of {len(self.participants)} sites "
            f"{threshold_of(len(self.participants))} must stay to the end; nothing was revealed",
        )

"""A federation in memory for tests of secure aggregation: real members, a real coordinator.

Every message passes through `Federation.tamper`, and every state is stored and read again after
each step, so a test can change any byte and loses nothing that a restart would keep.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward_client import secagg_member as member
from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.crypto.key_agreement import HybridPublicKey, Kem, SystemKem
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import FedwardError
from fedward_common.identities import SiteId
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.thresholds import threshold_of
from fedward_server import secagg_coordinator as coordinator

Words = NDArray[np.uint32] | NDArray[np.uint64]
Tamper = Callable[[str, SiteId, bytes], bytes]

# Names of the messages, for `Federation.tamper`: the request of a step, and what a site answers.
KEYS = "keys"
SHARE_REQUEST, SHARE_ANSWER = "share request", "share answer"
MASK_REQUEST, ADVANCE = "mask request", "confirmed in advance"
CONFIRM_REQUEST, CONFIRM_ANSWER = "confirm request", "confirm answer"
UNMASK_REQUEST, UNMASK_ANSWER = "unmask request", "unmask answer"


class SeededEntropy:
    """Bytes that follow from a seed, as if they were random."""

    def __init__(self, *seed: object) -> None:
        self._seed = repr(seed).encode()
        self._drawn = 0

    def __call__(self, num_bytes: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(num_bytes)


class RecordingKem:
    """The system's KEM, remembering what it made."""

    def __init__(self) -> None:
        self.made: list[tuple[bytes, SecretBytes]] = []

    def encapsulate(self, public: HybridPublicKey) -> tuple[bytes, SecretBytes]:
        self.made.append(SystemKem().encapsulate(public))
        return self.made[-1]


class RecordedKem:
    """Gives again what was recorded, in the same order."""

    def __init__(self, made: Iterable[tuple[bytes, bytes]]) -> None:
        self._made: Iterator[tuple[bytes, bytes]] = iter(made)

    def encapsulate(self, public: HybridPublicKey) -> tuple[bytes, SecretBytes]:
        ciphertext, secret = next(self._made)
        return ciphertext, SecretBytes(secret)


def site_names(num_sites: int) -> list[SiteId]:
    return [SiteId(f"site-{number:03}") for number in range(num_sites)]


def signing_key_of(name: str) -> SigningKey:
    return SigningKey.from_raw(hashlib.sha256(f"identity of {name}".encode()).digest())


def make_roster(
    sites: Collection[SiteId],
    organisations: Mapping[SiteId, str] | None = None,
    *,
    version: int = 3,
) -> Roster:
    """A roster of these sites, each an organisation of its own unless said otherwise."""
    named = organisations or {}
    entries = [
        RosterEntry(site, named.get(site, f"of {site}"), "site", signing_key_of(site).verifying_key)
        for site in sites
    ]
    boss = SiteId("coordinator")
    entries.append(RosterEntry(boss, "office", "coordinator", signing_key_of(boss).verifying_key))
    entries.sort(key=lambda entry: entry.site)
    digest = hashlib.sha256(repr([(e.site, e.organisation) for e in entries]).encode()).hexdigest()
    return Roster("example", version, digest, 1_700_000_000, 86_400, tuple(entries))


def make_binding(roster: Roster, **changes: object) -> RoundBinding:
    binding = RoundBinding(
        consortium=roster.consortium,
        run="run-1",
        purpose="train",
        round=4,
        attempt=0,
        manifest_sha256="aa" * 32,
        roster_version=roster.version,
        roster_sha256=roster.sha256,
        weights_sha256="bb" * 32,
        codec_sha256="cc" * 32,
        suite="S1",
    )
    return dataclasses.replace(binding, **changes)  # type: ignore[arg-type]


def make_contribution(
    site: SiteId, num_words: int, num_lane: int, dtype: type
) -> tuple[Words, NDArray[np.uint64]]:
    """Words and lane of one site, over the whole ring."""
    seed = int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    words = random.integers(0, 2**64 - 1, num_words, dtype=np.uint64, endpoint=True)
    lane = random.integers(0, 2**64 - 1, num_lane, dtype=np.uint64, endpoint=True)
    return words.astype(dtype), lane


def add_up(arrays: Iterable[Words]) -> Words:
    """The sum modulo the size of a word."""
    total: Words | None = None
    for array in arrays:
        total = array.copy() if total is None else total + array
    if total is None:
        raise ValueError("nothing to add up")
    return total


def untampered(step: str, site: SiteId, message: bytes) -> bytes:
    return message


def code_of(step: Callable[[], object]) -> str:
    """The code that a step is refused with, or "" if it is not."""
    try:
        step()
    except FedwardError as error:
        return error.code
    return ""


@dataclass
class Federation:
    """Members, a coordinator, and what they hold; `fork` to try several ways from one point.

    Attributes:
        tamper: Changes a message on its way; gets the message's name and the site it goes to or
            comes from.
    """

    rules: dict[SiteId, member.MemberRules]
    coordinator_rules: coordinator.CoordinatorRules
    binding: RoundBinding
    contributions: dict[SiteId, tuple[Words, NDArray[np.uint64]]]
    kems: dict[SiteId, Kem]
    seed: int = 0
    tamper: Tamper = untampered
    states: dict[SiteId, member.MemberState] = field(default_factory=dict)
    keys: dict[SiteId, bytes] = field(default_factory=dict)
    share_answers: dict[SiteId, bytes] = field(default_factory=dict)
    masked: dict[SiteId, tuple[Words, NDArray[np.uint64]]] = field(default_factory=dict)
    in_advance: dict[SiteId, bytes] = field(default_factory=dict)
    opened: coordinator.AttemptState | None = None
    left_out: dict[SiteId, str] = field(default_factory=dict)

    @property
    def sites(self) -> list[SiteId]:
        return sorted(self.rules)

    @property
    def threshold(self) -> int:
        return threshold_of(len(self.attempt.directory.sites))

    @property
    def attempt(self) -> coordinator.AttemptState:
        """The coordinator's state."""
        if self.opened is None:
            raise ValueError("no directory was opened yet")
        return self.opened

    @attempt.setter
    def attempt(self, state: coordinator.AttemptState) -> None:
        stored = state.to_secret()
        self.opened = coordinator.AttemptState.from_secret(stored, self.coordinator_rules)

    def fork(self) -> "Federation":
        """A copy that goes its own way; states are values and are shared."""
        return dataclasses.replace(
            self,
            states=dict(self.states),
            keys=dict(self.keys),
            share_answers=dict(self.share_answers),
            masked=dict(self.masked),
            in_advance=dict(self.in_advance),
        )

    def keep(self, site: SiteId, state: member.MemberState) -> None:
        """Store a member's state and read it again."""
        self.states[site] = member.MemberState.from_secret(state.to_secret())

    def entropy_of(self, site: SiteId, step: str) -> SeededEntropy:
        return SeededEntropy(self.seed, self.binding.attempt, site, step)

    # One step of one site, with a request of any kind.

    def begin_one(self, site: SiteId, abandonments: Collection[bytes] = ()) -> bytes:
        state, answer = member.begin(
            self.rules[site],
            self.binding,
            entropy=self.entropy_of(site, "begin"),
            earlier=self.states.get(site),
            abandonments=tuple(abandonments),
        )
        self.keep(site, state)
        return answer

    def share_one(self, site: SiteId, request: bytes) -> bytes:
        state, answer = member.share(
            self.states[site],
            self.rules[site],
            request,
            entropy=self.entropy_of(site, "share"),
            kem=self.kems[site],
        )
        self.keep(site, state)
        return answer

    def mask_one(self, site: SiteId, request: bytes) -> tuple[Words, NDArray[np.uint64]]:
        words, lane = self.contributions[site][0].copy(), self.contributions[site][1].copy()
        state, _ = member.mask(
            self.states[site], self.rules[site], request, words, lane, packed_bytes=words.itemsize
        )
        state, confirmation = member.confirm_in_advance(state, self.rules[site])
        self.keep(site, state)
        self.in_advance[site] = self.tamper(ADVANCE, site, confirmation)
        return words, lane

    def confirm_one(self, site: SiteId, request: bytes) -> bytes:
        state, answer = member.confirm(self.states[site], self.rules[site], request)
        self.keep(site, state)
        return answer

    def unmask_one(self, site: SiteId, request: bytes) -> bytes:
        state, answer = member.unmask(self.states[site], self.rules[site], request)
        self.keep(site, state)
        return answer

    def abandon_one(self, site: SiteId) -> bytes:
        state, answer = member.abandon(self.states[site], self.rules[site])
        self.keep(site, state)
        return answer

    # A whole step: the coordinator asks these sites, and takes what they answer.

    def begin(
        self, sites: Collection[SiteId] | None = None, abandonments: Collection[bytes] = ()
    ) -> None:
        """Get everybody's keys and open the directory."""
        for site in self.sites if sites is None else sites:
            self.keys[site] = self.tamper(KEYS, site, self.begin_one(site, abandonments))
        self.attempt, self.left_out = coordinator.open_directory(
            self.coordinator_rules, self.binding, self.keys
        )

    def share(self, sites: Collection[SiteId] | None = None) -> None:
        """Let these sites share, and close the list of sharers."""
        attempt = self.attempt
        request = coordinator.share_request(attempt)
        for site in self.attempt.directory.sites if sites is None else sites:
            answer = self.share_one(site, self.tamper(SHARE_REQUEST, site, request))
            self.share_answers[site] = answer
            answer = self.tamper(SHARE_ANSWER, site, answer)
            attempt = coordinator.take_share(attempt, site, answer)
        self.attempt = coordinator.fix_sharers(attempt)

    def mask(self, sites: Collection[SiteId] | None = None) -> None:
        """Let these sharers mask, and fix them as the survivors."""
        requests = coordinator.mask_requests(self.attempt)
        masking = self.attempt.sharers if sites is None else sites
        for site in masking:
            request = self.tamper(MASK_REQUEST, site, requests[site])
            self.masked[site] = self.mask_one(site, request)
        self.attempt = coordinator.fix_survivors(self.attempt, masking)

    def take_in_advance(self) -> None:
        """Take what sites signed with their vectors."""
        self.attempt = coordinator.take_confirmations_in_advance(self.attempt, self.in_advance)

    def confirm(self, sites: Collection[SiteId] | None = None) -> None:
        """Let these survivors sign."""
        attempt = self.attempt
        request = coordinator.confirm_request(attempt)
        for site in self.attempt.survivors if sites is None else sites:
            answer = self.confirm_one(site, self.tamper(CONFIRM_REQUEST, site, request))
            answer = self.tamper(CONFIRM_ANSWER, site, answer)
            attempt = coordinator.take_confirmation(attempt, site, answer)
        self.attempt = attempt

    def unmask(self, sites: Collection[SiteId] | None = None) -> None:
        """Let these survivors reveal shares."""
        attempt = self.attempt
        request = coordinator.unmask_request(attempt)
        for site in self.attempt.survivors if sites is None else sites:
            answer = self.unmask_one(site, self.tamper(UNMASK_REQUEST, site, request))
            answer = self.tamper(UNMASK_ANSWER, site, answer)
            attempt = coordinator.take_unmask(attempt, site, answer)
        self.attempt = attempt

    def masked_totals(self) -> tuple[Words, NDArray[np.uint64]]:
        """What the coordinator holds before the masks are off."""
        words = add_up(self.masked[site][0] for site in self.attempt.survivors)
        lane = add_up(self.masked[site][1] for site in self.attempt.survivors)
        return words, lane  # type: ignore[return-value]

    def totals(self) -> tuple[Words, NDArray[np.uint64]]:
        """The sums, with the masks off."""
        words, lane = self.masked_totals()
        coordinator.remove_masks(self.attempt, words, lane)
        return words, lane

    def plain_totals(self, sites: Iterable[SiteId]) -> tuple[Words, NDArray[np.uint64]]:
        """What the sums have to be."""
        chosen = list(sites)
        words = add_up(self.contributions[site][0] for site in chosen)
        lane = add_up(self.contributions[site][1] for site in chosen)
        return words, lane  # type: ignore[return-value]

    def assert_totals_are_those_of(self, sites: Iterable[SiteId]) -> None:
        for got, wanted in zip(self.totals(), self.plain_totals(sites), strict=True):
            np.testing.assert_array_equal(got, wanted)

    def run(self) -> tuple[Words, NDArray[np.uint64]]:
        """A round in which nobody drops out."""
        self.begin()
        self.share()
        self.mask()
        self.confirm()
        self.unmask()
        return self.totals()

    def next_attempt(self) -> None:
        """Forget the coordinator's attempt; the members keep their states."""
        self.binding = dataclasses.replace(self.binding, attempt=self.binding.attempt + 1)
        self.keys, self.masked, self.share_answers, self.in_advance = {}, {}, {}, {}
        self.opened = None


def make_federation(
    num_sites: int,
    *,
    organisations: Mapping[SiteId, str] | None = None,
    minimum_sites: int = 2,
    minimum_organisations: int = 2,
    max_sites: int = 128,
    num_words: int = 5,
    num_lane: int = 3,
    dtype: type = np.uint32,
    seed: int = 0,
    kems: Mapping[SiteId, Kem] | None = None,
) -> Federation:
    """A federation whose members have begun nothing yet; member and coordinator rules are alike."""
    sites = site_names(num_sites)
    roster = make_roster(sites, organisations)
    limits = {
        "roster": roster,
        "participants": frozenset(sites),
        "minimum_sites": minimum_sites,
        "minimum_organisations": minimum_organisations,
        "max_sites": max_sites,
    }
    return Federation(
        rules={
            site: member.MemberRules(site=site, signing_key=signing_key_of(site), **limits)  # type: ignore[arg-type]
            for site in sites
        },
        coordinator_rules=coordinator.CoordinatorRules(**limits),  # type: ignore[arg-type]
        binding=make_binding(roster),
        contributions={site: make_contribution(site, num_words, num_lane, dtype) for site in sites},
        kems=dict(kems) if kems is not None else {site: SystemKem() for site in sites},
        seed=seed,
    )

"""Two attempts at one sum: with one site fewer in one of them, the difference is its contribution.

A site masks what it masked before only when too few sites are left that would unmask the earlier
attempt. So a coordinator must never get both sums, whoever it makes give up.
"""

from collections.abc import Callable
from functools import partial

import pytest
from tests.attacks.secure_aggregation.attacker import (
    answer_or_none,
    corrupted,
    finish,
    lists_of,
    masked_by_all,
    refuses,
    request_to_unmask,
    signature_of,
    signed_by,
)
from tests.secagg_federation import Federation, code_of, make_binding, make_federation
from tests.secagg_steps import up_to

from fedward_client.secagg_member import Stage
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Abandonment,
    Confirmation,
    Signed,
    decode,
    encode,
)
from fedward_common.secagg.thresholds import abandonments_needed
from fedward_server import secagg_coordinator as coordinator


def abandonment_of(site: str, binding_sha256: str, signer: str | None = None) -> bytes:
    """What a dishonest site signs at any time, or somebody for it."""
    return encode(signed_by(Abandonment(site, binding_sha256), signer or site))


@pytest.mark.parametrize("num_sites", [2, 3, 4, 5, 6, 7, 8])
def test_never_are_two_attempts_at_one_contribution_both_unmasked(num_sites: int) -> None:
    """However many honest sites give up; dishonest ones sign that they do, and go on."""
    start = masked_by_all(num_sites)
    allies = corrupted(start)
    honest = [site for site in start.sites if site not in allies]
    first_sums, second_sums = 0, 0
    for num_given_up in range(len(honest) + 1):
        here = start.fork()
        given_up = [here.abandon_one(site) for site in honest[:num_given_up]]
        given_up += [abandonment_of(ally, here.binding.sha256) for ally in allies]
        first = can_unmask(here, honest, allies)
        here.next_attempt()
        begun = [code_of(partial(here.begin_one, site, given_up)) == "" for site in honest]
        assert len(set(begun)) == 1, "all honest sites decide alike"
        assert not (first and begun[0])
        first_sums += first
        second_sums += begun[0]
    assert first_sums > 0
    assert second_sums > 0


def can_unmask(here: Federation, honest: list[SiteId], allies: list[SiteId]) -> bool:
    """Whether t sites reveal their shares of the attempt that some gave up."""
    trial = here.fork()
    lists = lists_of(trial, trial.sites)
    signatures = [signature_of(trial, lists, ally) for ally in allies]
    for site in honest:
        answer = answer_or_none(partial(trial.confirm_one, site, encode(lists)))
        signatures += [] if answer is None else [decode(Confirmation, answer)]
    request = request_to_unmask(lists, signatures)
    revealed = [answer_or_none(partial(trial.unmask_one, site, request)) for site in honest]
    return sum(answer is not None for answer in revealed) + len(allies) >= trial.threshold


def needed_but_one(federation: Federation) -> list[bytes]:
    """One honest abandonment too few."""
    number = abandonments_needed(len(federation.sites)) - 1
    return [abandonment_of(site, federation.binding.sha256) for site in federation.sites[-number:]]


def hash_with(federation: Federation, **changes: object) -> str:
    return make_binding(federation.rules[federation.sites[0]].roster, **changes).sha256


Filler = Callable[[Federation, list[bytes]], list[bytes]]
FILLERS: dict[str, tuple[Filler, str]] = {
    "nothing": (lambda f, _: [], codes.MASKED_BEFORE),
    "one of them twice": (lambda f, few: [few[0]], codes.MASKED_BEFORE),
    "all of them twice": (lambda f, few: few, codes.MASKED_BEFORE),
    "signed by the coordinator": (
        lambda f, _: [abandonment_of(f.sites[0], f.binding.sha256, "coordinator")],
        codes.BAD_SIGNATURE,
    ),
    "signed by an ally": (
        lambda f, _: [abandonment_of(f.sites[1], f.binding.sha256, f.sites[6])],
        codes.BAD_SIGNATURE,
    ),
    "of somebody unknown": (
        lambda f, _: [abandonment_of("stranger", f.binding.sha256)], codes.FOREIGN_KEY,
    ),
    "of the coordinator": (
        lambda f, _: [abandonment_of("coordinator", f.binding.sha256)], codes.FOREIGN_KEY,
    ),
    "of the attempt before": (
        lambda f, _: [abandonment_of(f.sites[0], hash_with(f, attempt=9))],
        codes.BINDING,
    ),
    "of another round": (
        lambda f, _: [abandonment_of(f.sites[0], hash_with(f, round=3))],
        codes.BINDING,
    ),
    "of another purpose": (
        lambda f, _: [abandonment_of(f.sites[0], hash_with(f, purpose="test"))],
        codes.BINDING,
    ),
    "a signature on something else": (
        lambda f, _: [f.keys[f.sites[0]]], "MALFORMED_MESSAGE",
    ),
    "rubbish": (lambda f, _: [b"rubbish"], "MALFORMED_MESSAGE"),
    "an empty one": (lambda f, _: [b""], "MALFORMED_MESSAGE"),
}  # fmt: skip


@pytest.mark.parametrize(("filler", "code"), FILLERS.values(), ids=FILLERS)
def test_too_few_abandonments_are_not_filled_up(
    masked_seven: Federation, filler: Filler, code: str
) -> None:
    federation, few = masked_seven, needed_but_one(masked_seven)
    victim = federation.sites[0]
    extra = filler(federation, few)
    federation.next_attempt()
    refuses(federation, victim, lambda: federation.begin_one(victim, [*few, *extra]), code)
    # One more that is real opens the way, so nothing else was in it.
    real = abandonment_of(federation.sites[0], federation.states[victim].binding.sha256)
    assert code_of(lambda: federation.begin_one(victim, [*few, real])) == ""


def test_abandonments_of_sites_that_were_not_shown_do_not_count() -> None:
    """The coordinator shows a small directory, and has others give up what they were not in."""
    federation = make_federation(7)
    inside, outside = federation.sites[:4], federation.sites[4:]
    federation.begin(inside)
    federation.share()
    federation.mask()
    signed = [abandonment_of(site, federation.binding.sha256) for site in outside]
    federation.next_attempt()
    victim = inside[0]
    refuses(federation, victim, lambda: federation.begin_one(victim, signed), codes.MASKED_BEFORE)


@pytest.mark.parametrize("stage", [Stage.MASKED, Stage.CONFIRMED])
def test_who_abandoned_confirms_and_unmasks_nothing(stage: Stage) -> None:
    """Also with t signatures that were given before, its own among them."""
    federation = up_to(make_federation(4), Stage.CONFIRMED)
    request = coordinator.unmask_request(federation.attempt)
    lists = coordinator.confirm_request(federation.attempt)
    here = up_to(make_federation(4), stage)
    victim = here.sites[0]
    here.abandon_one(victim)
    refuses(here, victim, lambda: here.confirm_one(victim, lists), codes.ABANDONED)
    refuses(here, victim, lambda: here.unmask_one(victim, request), codes.ABANDONED)
    assert here.states[victim].secrets is None


def test_signatures_from_before_an_abandonment_open_nothing_after_it() -> None:
    """All t signatures of attempt 0 are out; all go on to attempt 1, and attempt 0 is asked for."""
    federation = up_to(make_federation(4), Stage.CONFIRMED)
    old = coordinator.unmask_request(federation.attempt)
    given_up = [federation.abandon_one(site) for site in federation.sites]
    federation.next_attempt()
    federation.begin(abandonments=given_up)
    victim = federation.sites[1]
    for step in (federation.share, federation.mask):
        refuses(federation, victim, partial(federation.unmask_one, victim, old), codes.OUT_OF_ORDER)
        step()
    refuses(federation, victim, lambda: federation.unmask_one(victim, old), codes.SECOND_REQUEST)
    federation.confirm()
    refuses(federation, victim, lambda: federation.unmask_one(victim, old), codes.SECOND_REQUEST)
    finish(federation)


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_round_that_was_unmasked_has_no_other_attempt(attempt: int) -> None:
    federation = up_to(make_federation(4), Stage.UNMASKED)
    given_up = [abandonment_of(site, federation.binding.sha256) for site in federation.sites]
    for _ in range(attempt):
        federation.next_attempt()
    victim = federation.sites[0]
    refuses(federation, victim, lambda: federation.begin_one(victim, given_up), codes.CLOSED)
    refuses(federation, victim, lambda: federation.abandon_one(victim), codes.CLOSED)


def test_an_abandoned_attempt_that_was_masked_still_needs_the_others(
    masked_seven: Federation,
) -> None:
    """Having a site give up by itself does not let it mask the same again."""
    victim = masked_seven.sites[0]
    own = masked_seven.abandon_one(victim)
    masked_seven.next_attempt()
    refuses(
        masked_seven, victim, lambda: masked_seven.begin_one(victim, [own]), codes.MASKED_BEFORE
    )


def test_other_words_are_not_masked_under_one_key(masked_seven: Federation) -> None:
    """Their difference would be in clear."""
    victim = masked_seven.sites[0]
    request = coordinator.mask_request(masked_seven.attempt, victim)
    words, lane = masked_seven.contributions[victim]
    masked_seven.contributions = dict(masked_seven.contributions)
    changed_words, changed_lane = words.copy(), lane.copy()
    changed_words[0] ^= 1
    changed_lane[-1] ^= 1
    for other in ((changed_words, lane), (words, changed_lane), (words[:-1], lane)):
        masked_seven.contributions[victim] = other
        refuses(
            masked_seven, victim, lambda: masked_seven.mask_one(victim, request),
            codes.SECOND_REQUEST,
        )  # fmt: skip


def test_the_same_request_gives_the_same_masked_bytes_and_no_others(
    masked_seven: Federation,
) -> None:
    victim = masked_seven.sites[0]
    request = coordinator.mask_request(masked_seven.attempt, victim)
    again = masked_seven.mask_one(victim, request)
    assert again[0].tobytes() == masked_seven.masked[victim][0].tobytes()
    assert again[1].tobytes() == masked_seven.masked[victim][1].tobytes()


def test_an_ally_that_abandoned_and_signs_all_the_same_opens_nothing() -> None:
    """Its word counts in both attempts, and is counted as if it did."""
    federation = masked_by_all(4)
    (ally,) = corrupted(federation)
    honest = federation.sites[:3]
    given_up = [federation.abandon_one(honest[0]), federation.abandon_one(honest[1])]
    given_up.append(abandonment_of(ally, federation.binding.sha256))
    assert abandonments_needed(4) == len(given_up)
    lists = lists_of(federation, federation.sites)
    signed = [
        decode(Confirmation, federation.confirm_one(honest[2], encode(lists))),
        signature_of(federation, lists, ally),
    ]
    request = request_to_unmask(lists, signed)
    refuses(
        federation, honest[2], lambda: federation.unmask_one(honest[2], request),
        codes.TOO_FEW_SIGNATURES,
    )  # fmt: skip
    assert decode(Abandonment, decode(Signed, given_up[0]).body).site == honest[0]

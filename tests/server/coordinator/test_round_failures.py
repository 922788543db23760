"""Which reasons of a site no repeating mends."""

import pytest

from fedward_common.identities import SiteId
from fedward_common.wire.messages import EvaluateReply
from fedward_server.coordinator.exchange import Answer, Failure
from fedward_server.coordinator.round_failures import (
    NO_SITE,
    are_for_good,
    told_failure,
    told_failures,
)

BIRCH = SiteId("birch")


def test_a_failure_is_told_with_round_and_attempt() -> None:
    told = {"round": 3, "attempt": 2, "site": "birch", "code": "LATE"}
    assert told_failures([Failure(BIRCH, "LATE")], 3, 2) == [told]
    odd = told_failure(Answer(BIRCH, EvaluateReply(), {}), 3, 2)
    assert odd == told | {"code": "UNEXPECTED_ANSWER"}


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (Failure(BIRCH, "SECAGG_CLOSED"), True),
        (Failure(BIRCH, "SECAGG_WEIGHTS_DIFFER"), True),
        (Failure(BIRCH, "SECAGG_ROUND_OLD"), True),
        (Failure(NO_SITE, "MALFORMED_MESSAGE"), True),
        (Failure(BIRCH, "SECAGG_MASKED_BEFORE"), False),
        (Failure(BIRCH, "SECAGG_ABANDONED"), False),
        (Failure(BIRCH, "LATE"), False),
    ],
)
def test_a_round_is_given_up_only_where_sites_or_the_sum_say_so(
    failure: Failure, wanted: bool
) -> None:
    assert are_for_good([Failure(SiteId("alder"), "LATE"), failure]) == wanted
    assert not are_for_good([])

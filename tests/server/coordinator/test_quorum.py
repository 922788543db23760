"""On what terms a site takes part, and when enough of them are there."""

from typing import Any

import pytest

from fedward_common.errors import MalformedMessageError, QuorumError
from fedward_common.job.job_file import QuorumSection, StrategySection
from fedward_common.wire.messages import ManifestReply
from fedward_server.coordinator.quorum import require_quorum, terms_of

STRATEGY = StrategySection(weighting="bands", weight_cap_patients=1000)


def terms(low: int, high: int, *, trains: bool = True) -> dict[str, Any]:
    return terms_of(ManifestReply(low, high, "patient"), STRATEGY, trains=trains)


def test_a_site_weighs_as_its_band_up_to_the_cap() -> None:
    assert terms(200, 499)["weight"] == 0.2
    assert terms(5000, 9999)["weight"] == 1.0


@pytest.mark.parametrize(
    ("low", "high"), [(200, 500), (0, 9), (-5, 9), (2 * 10**18, 5 * 10**18 - 1), (0, 0)]
)
def test_what_is_no_published_band_of_a_training_site_is_refused(low: int, high: int) -> None:
    with pytest.raises(MalformedMessageError, match="band"):
        terms(low, high)


def test_a_site_that_only_evaluates_may_have_no_training_patients() -> None:
    assert not terms(0, 0, trains=False)["trains"]


def test_one_sites_large_claim_does_not_make_the_others_too_few() -> None:
    accepted = {"a": terms(5_000_000, 9_999_999), "b": terms(500, 999), "c": terms(500, 999)}
    require_quorum(QuorumSection(), accepted, ["b", "c"], what="round 2", failures=[])


def test_too_small_a_share_is_refused_with_who_is_missing() -> None:
    accepted = {"a": terms(1000, 1999), "b": terms(100, 199)}
    failures = [{"site": "a", "code": "LATE"}]
    with pytest.raises(QuorumError, match=r"1 of 2 sites, about 9% .*\(a: LATE\)"):
        require_quorum(QuorumSection(), accepted, ["b"], what="round 2", failures=failures)


def test_a_site_that_does_not_train_fills_no_quorum() -> None:
    accepted = {"a": terms(100, 199), "b": terms(100, 199, trains=False)}
    with pytest.raises(QuorumError, match="0 of 1 sites"):
        require_quorum(QuorumSection(), accepted, ["b"], what="round 2", failures=[])

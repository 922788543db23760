"""Whether sites can be added up: refused in one line before any of them trains."""

from pathlib import Path

import pytest
from tests.joint_federation import joint_job
from tests.masked_federation import MASKED, five_sites, kinds_of
from tests.secagg_federation import make_roster, site_names
from tests.tiny_federation import TinyFederation, changed, make_federation, tiny_job

from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_server.coordinator.aggregation_fits import (
    require_aggregation_fits,
    require_weights_fit,
)

NUM_PARAMETERS = 100


def refusal_of(
    num_sites: int, *overrides: str, organisations: dict[SiteId, str] | None = None
) -> ConfigurationError:
    sites = site_names(num_sites)
    job = tiny_job(overrides=[MASKED, *overrides])
    with pytest.raises(ConfigurationError) as caught:
        require_aggregation_fits(
            job, tuple(sites), make_roster(sites, organisations), NUM_PARAMETERS
        )
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_three_sites_fit() -> None:
    sites = site_names(3)
    job = tiny_job(overrides=[MASKED])
    require_aggregation_fits(job, tuple(sites), make_roster(sites), NUM_PARAMETERS)


def test_one_site_has_nobody_to_hide_among() -> None:
    error = refusal_of(1)
    assert "secure_aggregation.enabled = true with 1 training site" in str(error)
    assert "enabled = false" in error.hint


def test_a_job_that_masks_nothing_is_not_asked() -> None:
    sites = site_names(1)
    require_aggregation_fits(tiny_job(), tuple(sites), make_roster(sites), NUM_PARAMETERS)


def test_fewer_sites_than_the_job_wants_are_refused_by_the_key() -> None:
    assert "secure_aggregation.minimum_sites is 4" in str(
        refusal_of(3, "secure_aggregation.minimum_sites=4")
    )


def test_more_sites_than_the_bits_have_room_for_are_refused_by_the_key() -> None:
    error = refusal_of(40, "secure_aggregation.bits=24", "secure_aggregation.value_range=1024.0")
    assert "secure_aggregation.bits = 24" in str(error)


def test_one_organisation_with_too_many_of_the_sites_is_refused_by_its_rule() -> None:
    two = dict.fromkeys(site_names(2), "one hospital group")
    error = refusal_of(4, organisations=two)
    assert error.code == "SECAGG_ORGANISATION_TOO_LARGE"
    assert "one organisation holds 2" in str(error)
    sites = site_names(7)
    job = tiny_job(overrides=[MASKED])
    require_aggregation_fits(job, tuple(sites), make_roster(sites, two), NUM_PARAMETERS)


def test_a_ring_that_the_joint_mechanism_overflows_is_refused() -> None:
    sites = site_names(4)
    job = changed(joint_job(fraction_bits=12, ring_bits=14), MASKED)
    with pytest.raises(FedwardError, match="ring of 14 bits"):
        require_aggregation_fits(job, tuple(sites), make_roster(sites), NUM_PARAMETERS)


def test_it_is_asked_when_a_run_is_set_up_and_nothing_is_written(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(MASKED, "secure_aggregation.minimum_sites=4")
    with pytest.raises(ConfigurationError, match="minimum_sites is 4"):
        federation.set_up(tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.cbor").exists()


def test_a_federation_of_one_is_told_in_one_line(tmp_path: Path) -> None:
    alone = make_federation(tmp_path / "f", sites=("alder",)).with_job(
        MASKED, "quorum.required_sites=1"
    )
    with pytest.raises(ConfigurationError, match="a sum of one hides nobody"):
        alone.set_up(tmp_path / "run")


def test_five_sites_may_be_wanted_all(tmp_path: Path) -> None:
    five = five_sites(tmp_path / "f").with_job(MASKED, "secure_aggregation.minimum_sites=5")
    assert five.set_up(tmp_path / "run").manifest.job.secure_aggregation.minimum_sites == 5


BANDS = ("strategy.weighting=bands", "secure_aggregation.bits=24")


def weigh(job: Job, weights: list[float]) -> None:
    """Ask with sites that train by these weights, and one that evaluates."""
    names = [str(name) for name in site_names(len(weights) + 1)]
    terms = [{"weight": weight, "trains": True} for weight in weights]
    terms.append({"weight": 1.0, "trains": False})
    require_weights_fit(job, names[:-1], dict(zip(names, terms, strict=True)))


def test_weights_by_band_fit_as_long_as_they_leave_eight_bits() -> None:
    job = tiny_job(overrides=[MASKED, *BANDS, "strategy.weight_cap_patients=1000"])
    # For a range of 4, 24 bits leave 18 with eight sites and 17 with nine; 1/1000 costs 9.97.
    weigh(job, [1 / 1000] * 8)
    with pytest.raises(ConfigurationError, match="leaves 7 of 17 bits"):
        weigh(job, [1 / 1000] * 9)


def test_it_is_the_mean_of_the_weights_that_counts() -> None:
    job = tiny_job(overrides=[MASKED, *BANDS, "strategy.weight_cap_patients=100000"])
    weigh(job, [1e-3, 1e-3, 1e-3])
    with pytest.raises(ConfigurationError, match="leaves 7 of 19 bits"):
        weigh(job, [2e-4, 2e-4, 1e-3])


def test_weights_that_round_every_update_to_nothing_are_refused_by_the_key() -> None:
    job = tiny_job(overrides=[MASKED, *BANDS, "strategy.weight_cap_patients=100000"])
    with pytest.raises(ConfigurationError) as caught:
        weigh(job, [20 / 100_000] * 3)
    assert str(caught.value).startswith("strategy.weight_cap_patients is 100000")
    assert "leaves 6 of 19 bits" in str(caught.value)
    assert "uniform" in str(caught.value.hint)


def test_one_large_site_carries_small_ones() -> None:
    job = tiny_job(overrides=[MASKED, *BANDS, "strategy.weight_cap_patients=1000000"])
    weigh(job, [1e-6, 1e-6, 1.0])


@pytest.mark.parametrize("settings", [(), (MASKED, "strategy.weighting=uniform")])
def test_without_masks_or_with_equal_weights_any_cap_fits(settings: tuple[str, ...]) -> None:
    job = tiny_job(overrides=[*settings, "strategy.weight_cap_patients=1000000000"])
    weigh(job, [1.0] * 3 if settings else [1e-9] * 3)


def test_a_run_whose_weights_would_round_it_away_ends_before_anybody_trains(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(MASKED, *BANDS, "strategy.weight_cap_patients=1000000000")
    with pytest.raises(ConfigurationError, match=r"strategy\.weight_cap_patients"):
        federation.run(tmp_path / "run")
    assert "run.accepted" not in kinds_of(tmp_path / "run")

import copy
from typing import Any

import pytest

from fedward_server.reports.html_report import html_of
from fedward_server.reports.privacy_view import largest_epsilon, privacy_line, privacy_rows
from fedward_server.reports.report_view import cards
from fedward_server.reports.statements import privacy_statement


def _spent(epsilon: float, place: str = "cpu") -> dict[str, Any]:
    return {
        "epsilon": epsilon, "delta": 1e-5, "unit": "patient", "noise_multiplier": 0.4891234,
        "sampling_rate": 0.0508, "steps": 1200, "epsilon_reserved": 7.9966, "noise_drawn_on": place,
    }  # fmt: skip


@pytest.fixture
def private(classification: dict[str, Any]) -> dict[str, Any]:
    """A simulation in which one site drew its noise on a GPU."""
    result = copy.deepcopy(classification)
    per_site = {"hospB": _spent(3.25, "device"), "hospA": _spent(2.5)}
    result["privacy"].update(
        mechanism="per-site", unit="patient", delta=1e-5, accountant="PLD", per_site=per_site,
        epsilon={site: one["epsilon"] for site, one in per_site.items()},
    )  # fmt: skip
    return result


def test_each_site_has_a_row_with_what_its_ledger_says(private: dict[str, Any]) -> None:
    first, second = privacy_rows(private)
    assert (first.site, first.unit, first.epsilon, first.reserved) == (
        "hospA", "patient", "2.500", "7.997",
    )  # fmt: skip
    assert (first.delta, first.noise_multiplier, first.sampling_rate, first.steps) == (
        "1e-05", "0.4891", "0.0508", "1,200",
    )  # fmt: skip
    assert (first.noise_drawn_on, second.noise_drawn_on) == ("processor", "GPU (weaker)")


def test_the_report_shows_epsilon_unit_delta_accountant_and_that_nobody_is_protected(
    private: dict[str, Any],
) -> None:
    page = html_of(private)
    for text in ("<dt>Epsilon</dt><dd>3.250<small>simulated", "Epsilon spent", "GPU (weaker)"):
        assert text in page
    for text in ("would protect each patient", "1e-05", "(PLD)", "noise_is_private: false"):
        assert text in page
    assert 'class="statement protected">Differential' not in page


def test_only_noise_that_nobody_can_repeat_is_said_to_protect(private: dict[str, Any]) -> None:
    assert "protects nobody" in privacy_line(private)
    assert "Here it protects no patient" in privacy_statement(private)
    private["privacy"].update(noise_is_private=True, per_site=None, epsilon=8.0)
    assert privacy_line(private) == (
        "Privacy (per-site): epsilon 8.000 at most for each patient, at delta 1e-05"
    )
    assert " protects each patient: epsilon 8 at delta 1e-05" in privacy_statement(private)
    page = html_of(private)
    assert 'class="statement protected">Differential' in page
    assert "Epsilon spent" not in page
    assert "noise_is_private" not in page


def test_the_line_on_one_noise_for_all_says_against_whom_it_holds(private: dict[str, Any]) -> None:
    private["privacy"]["mechanism"] = "joint"
    assert "at delta 1e-05, against whoever sees sums over all sites only" in privacy_line(private)


def test_without_a_mechanism_there_is_no_epsilon_to_show(classification: dict[str, Any]) -> None:
    assert privacy_line(classification) == "Privacy: no differential privacy"
    assert privacy_rows(classification) == ()
    assert "Epsilon" not in [card.label for card in cards(classification)]


@pytest.mark.parametrize("epsilon", [None, {}, {"hospA": None}])
def test_an_epsilon_that_was_not_recorded_is_a_dash(private: dict[str, Any], epsilon: Any) -> None:
    private["privacy"]["epsilon"] = epsilon
    private["privacy"]["per_site"]["hospA"] = {}
    assert largest_epsilon(private) == "\N{EN DASH}"
    assert privacy_rows(private)[0].noise_drawn_on == "\N{EN DASH}"
    html_of(private)

"""The numbers of a round's directory, which every machine reckons for itself.

One assumption stands behind all of them: of the n sites in a round's directory, fewer than a third
work with the coordinator. Nobody is told a threshold, so nobody can lower one.

Source: Bonawitz et al. 2017, eprint 2017/281, section 6.2, for adversaries that deviate.
"""

import math

from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg import refusal_codes


def threshold_of(num_sites: int) -> int:
    """Give t = floor(2 n / 3) + 1: shares that open a secret, sites that a sum needs.

    A coordinator that shows two lists of survivors needs the answers of t sites to each. Two groups
    of t among n have 2 t - n sites in common at least, and 2 t - n is above `largest_coalition(n)`.
    So an honest site would have to be in both, and an honest site reveals its shares for one list.

    t is n itself for n of 1, 2 and 3: there a sum survives no site's leaving.

    Raises:
        AggregationRefusedError: `SECAGG_TOO_FEW_SITES`: no site.
    """
    _require_a_site(num_sites)
    return 2 * num_sites // 3 + 1


def largest_coalition(num_sites: int) -> int:
    """Give ceil(n / 3) - 1: the most sites that are still fewer than a third of n.

    It is below t, so a coalition opens nothing by itself.
    """
    _require_a_site(num_sites)
    return -(-num_sites // 3) - 1


def abandonments_needed(num_sites: int) -> int:
    """Give n - t + ceil(n / 3): abandonments after which an attempt can never be unmasked.

    All but `largest_coalition(n)` of them are of honest sites, which keep to their word: n - t + 1
    sites at least never unmask that attempt. The t - 1 others, liars included, are too few.
    Only then may a site mask the same contribution again: two masked copies of it, one of them
    opened among other survivors, would show it by subtraction.

    Honest sites suffice to bring so many together: n - `largest_coalition(n)` are not fewer.
    """
    return num_sites - threshold_of(num_sites) + largest_coalition(num_sites) + 1


def fewest_honest_survivors(num_sites: int) -> int:
    """Give t - floor((n - 1) / 3): honest sites in any sum that is ever opened.

    A sum has t sites or more, of which `largest_coalition(n)` = floor((n - 1) / 3) may be
    dishonest. It is 1 or more for every n, and above n / 3: noise is shared among so many.
    """
    return threshold_of(num_sites) - largest_coalition(num_sites)


def sites_one_organisation_may_hold(num_sites: int) -> int:
    """Give max(1, ceil(n / 3) - 1): an organisation counts as one coalition.

    With fewer than four sites a single one is already a third. It is allowed all the same, since
    no directory could exist otherwise; there the assumption is that no site works with the
    coordinator.
    """
    return max(1, largest_coalition(num_sites))


def sites_of_share(share: float, num_sites: int) -> int:
    """Give the fewest of `num_sites` that are at least a share of them, 0 to 1.

    A billionth of a site is let off: 0.55 of 20 is a little more than 11 in floating point.
    """
    return math.ceil(share * num_sites - 1e-9)


def _require_a_site(num_sites: int) -> None:
    if num_sites < 1:
        raise AggregationRefusedError(
            f"a directory of {num_sites} sites: at least 1 is needed",
            hint="no site was ready in time; look at the sites' links",
            code=refusal_codes.TOO_FEW_SITES,
        )

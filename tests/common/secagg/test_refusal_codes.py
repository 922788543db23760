"""Each rule has one name."""

import re

from fedward_common.secagg import refusal_codes


def test_codes_are_distinct_and_say_where_they_come_from() -> None:
    codes = [value for name, value in vars(refusal_codes).items() if name.isupper()]
    assert len(codes) == len(set(codes)) > 20
    assert all(re.fullmatch(r"SECAGG_[A-Z_]+", code) for code in codes)

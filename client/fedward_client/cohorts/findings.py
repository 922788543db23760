"""What checks found: a code, and where the data manager finds the matter."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing wrong, or worth a look.

    Args:
        code: One of `finding_codes.CODE_MEANINGS`.
        line: Line of the label file, the header being line 1; None where none is concerned.
        place: Relative path or UID, for local reports alone; it never leaves.
    """

    code: str
    line: int | None = None
    place: str = field(default="", repr=False)


def counts_by_code(findings: Iterable[Finding]) -> dict[str, int]:
    """Count findings, codes in sorted order."""
    return dict(sorted(Counter(one.code for one in findings).items()))

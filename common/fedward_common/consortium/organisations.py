"""Names of organisations: what a site belongs to, and what is counted before sums are trusted."""

import unicodedata

from fedward_common.errors import ConfigurationError

MAX_ORGANISATION_LENGTH = 64  # ub-organization-name, RFC 5280 appendix A.1


def parse_organisation(unverified: str) -> str:
    """Accept one line of 1 to 64 printable characters, words apart by one space, in Unicode NFC.

    Raises:
        ConfigurationError: Any other text.
    """
    is_one_line = unverified.isprintable() and " ".join(unverified.split()) == unverified
    is_normal = unicodedata.normalize("NFC", unverified) == unverified
    if not (0 < len(unverified) <= MAX_ORGANISATION_LENGTH and is_one_line and is_normal):
        raise ConfigurationError(
            f"organisation {unverified[:80]!r} cannot be used",
            hint=f"one line of 1 to {MAX_ORGANISATION_LENGTH} printable characters in Unicode "
            "NFC, words apart by one space",
        )
    return unverified


def without_spelling(organisation: str) -> str:
    """Give what two names share that a person could take for one: case and width do not count."""
    return unicodedata.normalize("NFKC", organisation).casefold()

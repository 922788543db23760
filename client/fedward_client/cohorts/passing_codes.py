"""Codes of the machine or the moment, not of a file's content: asked again, the case may be usable.

Nothing that is kept may rest on them: a scan reads such a file again, and no view is stored. A file
that no decoder survived, twice, is no such case: it is left out, and the view says so
(`views/view_builder`).
"""

PASSING_CODES = frozenset(
    {
        "E_FILE_NOT_FOUND",
        "E_FILE_UNREADABLE",
        "E_FILE_CHANGED",
        "E_SERVER_ANSWER",
        "E_SERVER_CERTIFICATE",
        "E_SERVER_NOT_FOUND",
        "E_SERVER_REFUSED",
        "E_SERVER_TOO_LARGE",
        "E_SERVER_UNREACHABLE",
    }
)

"""What `fedward coordinator join` does and prints."""

import time
from collections.abc import Callable
from pathlib import Path

from fedward_common.consortium.enrolment_answer import MAX_ANSWER_BYTES
from fedward_common.consortium.invitation import token_given
from fedward_server.consortium.coordinator_home_files import begin_joining, finish_joining
from fedward_server.consortium.desk import read_bounded
from fedward_server.consortium.office_display import date_of, print_json, say


def run_coordinator_join(
    home: Path,
    *,
    token: str | None,
    token_file: Path | None,
    answer: Path | None,
    json_output: bool,
    now_seconds: Callable[[], float] = time.time,
) -> None:
    """Make the coordinator's request, or take the office's answer.

    Raises:
        ConfigurationError: Not exactly one of token, token file and answer was given, or it cannot
            be used.
    """
    given = token_given(token, token_file, answer)
    if answer is not None:
        content = read_bounded(answer, MAX_ANSWER_BYTES)
        membership = finish_joining(home, content, now_seconds=now_seconds())
        until = date_of(membership.certificate.not_after_seconds)
        if json_output:
            version = membership.roster.version
            print_json({"member": True, "certificate_until": until, "roster_version": version})
            return
        say(f"This coordinator is a member of {membership.authority.consortium!r} until {until}.")
        return
    file, words = begin_joining(home, given, now_seconds=now_seconds)
    if json_output:
        print_json({"member": False, "request": str(file), "words": list(words)})
        return
    say(f"Send {file} to the consortium's office, and read it these words over the telephone:")
    say(f"  {' '.join(words)}")
    say("Then: fedward coordinator join --answer FILE")

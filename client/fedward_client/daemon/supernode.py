"""Flower's SuperNode, started as this site wants it: `python -m fedward_client.daemon.supernode`.

It is Flower's own command with two changes: it asks for work as often as the site's settings say,
where Flower waits 3 seconds each time, and it ends with the daemon that started it. What it says
about itself that matters is told as lines of JSON on stdout.
"""

import logging
import re
import sys
import time
from types import SimpleNamespace

from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode

from fedward_client.daemon.end_with_parent import end_with_parent
from fedward_common.event_lines import EventLines, Tell

CONNECTED = "node.connected"
REFUSED = "node.refused"

_CONNECTED_MESSAGE = "SuperNode ID: %s"
_EXIT = re.compile(r"Exit Code: (\d+)\n")
# What the text of an exit says comes first: Flower has one number for all that keeps it away.
_CODES_OF_TEXTS = {
    "certificate has expired": "CERT_EXPIRED",
    "certificate verify failed": "CERT_UNTRUSTED",
}
_CODES_OF_EXITS = {302: "NODE_KEY_UNUSABLE", 305: "NODE_REFUSED"}


def main() -> None:
    """Run until told to end: `supernode POLL_SECONDS OPTION...`."""
    end_with_parent()
    poll_seconds, *options = sys.argv[1:]
    poll_every(float(poll_seconds))
    logging.getLogger("flwr").addHandler(NodeTeller(EventLines("fedward-node", sys.stdout)))
    sys.argv = ["flower-supernode", *options]
    flower_supernode()


def poll_every(seconds: float) -> None:
    """Let the node wait no longer than this between two questions."""

    def sleep(wanted_seconds: float) -> None:
        time.sleep(min(wanted_seconds, seconds))

    # The module uses nothing of `time` but `sleep`; a test holds Flower to that.
    vars(start_client_internal)["time"] = SimpleNamespace(sleep=sleep)


class NodeTeller(logging.Handler):
    """Tells when the node is connected, and by its code why it gave up."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record of Flower's log."""
        if record.msg == _CONNECTED_MESSAGE:
            self._tell(CONNECTED)
        elif exit_ := _EXIT.match(str(record.msg)):
            self._tell(REFUSED, code=code_of_exit(int(exit_[1]), str(record.msg)))


def code_of_exit(number: int, text: str) -> str:
    """Give the code for why Flower's node gave up."""
    for words, code in _CODES_OF_TEXTS.items():
        if words in text:
            return code
    return _CODES_OF_EXITS.get(number, f"FLOWER_EXIT_{number}")


if __name__ == "__main__":
    main()

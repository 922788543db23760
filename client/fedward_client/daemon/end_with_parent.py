"""A child process ends when whoever started it does, however that ended.

The parent holds the other end of the child's standard input. The system closes it with the parent,
so a child never goes on alone, with the site's key, beside the next daemon.
"""

import os
import signal
import sys
import threading

_GRACE_SECONDS = 10.0


def end_with_parent() -> None:
    """Watch standard input, and end this process once it is closed."""
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    # A parent writes nothing; whatever comes before the end is not looked at.
    while os.read(sys.stdin.fileno(), 64):
        pass
    force = threading.Timer(_GRACE_SECONDS, os._exit, args=(1,))
    force.daemon = True
    force.start()
    os.kill(os.getpid(), signal.SIGTERM)

"""No request's path in a log: urllib3 writes it, UIDs and all, when debugging is on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOGGERS = ("connection", "connectionpool", "poolmanager", "response", "util.retry")

_asking_pacs: ContextVar[bool] = ContextVar("asking_pacs", default=False)


def _is_of_others(_record: logging.LogRecord) -> bool:
    return not _asking_pacs.get()


for _name in _LOGGERS:
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_of_others)


@contextmanager
def quiet_urllib3() -> Iterator[None]:
    """Drop what urllib3 logs inside the block, in this thread; other users of it are not muted."""
    token = _asking_pacs.set(True)
    try:
        yield
    finally:
        _asking_pacs.reset(token)

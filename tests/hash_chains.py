"""A hash-chained file as somebody leaves it who may write it: other content, and a sound chain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedward_common.hash_chain import ChainedLines


def rewritten_chain(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change entries in place, and chain all of them anew."""
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.unlink()
    with ChainedLines(path) as lines:
        for entry in entries:
            change(entry)
            lines.append({k: v for k, v in entry.items() if k not in ("index", "previous")})

"""A machine that dies at the N-th step that changes its disk.

`kill -9` keeps what was written; a power cut may also lose what was not synced. Both are drawn from
a seed, so that a crash can be repeated.
"""

import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class SimulatedCrash(BaseException):
    """The process is dead; nothing in it may run that changes the disk."""


class CrashingDisk:
    """Counts writes, syncs, renames, cuts, deletions and new folders, and dies at one of them.

    Args:
        dies_at: The step, from 1; 0 for never.
        seed: Of how much of a write is done, and of what a power cut loses.
        power_cut: Whether bytes and renames that were not synced may be lost.
    """

    def __init__(self, dies_at: int = 0, seed: int = 0, *, power_cut: bool = False) -> None:
        self.steps = 0
        self._dies_at = dies_at
        self._random = random.Random(seed)
        self._power_cut = power_cut
        self._is_dead = False
        self._synced: dict[Path, int] = {}
        self._renamed: list[tuple[Path, bytes | None]] = []
        self._real = {name: getattr(os, name) for name in _STEPS}

    @contextmanager
    def plugged_in(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in _STEPS:
                patch.setattr(os, name, getattr(self, f"_{name}"))
            yield
        if self._is_dead and self._power_cut:
            self._lose_what_was_not_synced()

    def _step(self) -> bool:
        """Count a step; say whether it is the one that is cut short."""
        if self._is_dead:
            raise SimulatedCrash
        self.steps += 1
        self._is_dead = self.steps == self._dies_at
        return self._is_dead

    def _write(self, descriptor: int, block: Any) -> int:
        path = _path_of(descriptor)
        self._synced.setdefault(path, os.fstat(descriptor).st_size)
        if self._step():
            part = bytes(block)[: self._random.randint(0, len(block))]
            if part:
                self._real["write"](descriptor, part)
            raise SimulatedCrash
        return int(self._real["write"](descriptor, block))

    def _fsync(self, descriptor: int) -> None:
        if self._step() and self._random.random() < 0.5:
            raise SimulatedCrash
        path = _path_of(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._renamed = [one for one in self._renamed if one[0].parent != path]
        else:
            self._synced.pop(path, None)
        if self._is_dead:
            raise SimulatedCrash

    def _replace(self, source: Any, target: Any, **more: Any) -> None:
        self._change("replace", source, target, target=Path(target))

    def _rename(self, source: Any, target: Any, **more: Any) -> None:
        self._change("rename", source, target, target=Path(target))

    def _ftruncate(self, descriptor: int, length: int) -> None:
        self._change("ftruncate", descriptor, length)

    def _unlink(self, path: Any, **more: Any) -> None:
        self._change("unlink", path)

    def _mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        self._change("mkdir", path, mode)

    def _change(self, name: str, *args: Any, target: Path | None = None) -> None:
        """Do a step that is done whole or not at all."""
        if self._step() and self._random.random() < 0.5:
            raise SimulatedCrash
        if target is not None:
            before = target.read_bytes() if target.is_file() else None
            self._renamed.append((target, before))
        self._real[name](*args)
        if self._is_dead:
            raise SimulatedCrash

    def _lose_what_was_not_synced(self) -> None:
        for path, synced in self._synced.items():
            if path.is_file() and path.stat().st_size > synced:
                os.truncate(path, self._random.randint(synced, path.stat().st_size))
        for path, before in reversed(self._renamed):
            if self._random.random() < 0.5:
                continue
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)


_STEPS = ("write", "fsync", "replace", "rename", "ftruncate", "unlink", "mkdir")


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()

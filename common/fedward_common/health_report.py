"""What a daemon says of itself: conditions that hold or do not, and figures, as JSON and metrics.

Conditions have names and codes, figures have names, numbers and labels; nothing here is about a
patient. The text of metrics is Prometheus' exposition format 0.0.4.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fedward_common.errors import ConfigurationError

_MAX_PORT = 65535
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Figure:
    """One figure, once or for each value of a label.

    Attributes:
        name: With its unit; one that only grows ends in `_total`.
        meaning: One line.
        values: By the label's value; "" where the figure has no label.
        label: Name of the label; empty for none.
    """

    name: str
    meaning: str
    values: Mapping[str, float]
    label: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or (self.label and not _NAME.fullmatch(self.label)):
            raise ValueError(f"{self.name} {self.label} is no name of a figure")

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """What Prometheus calls it."""
        return "counter" if self.name.endswith("_total") else "gauge"


def figure(name: str, meaning: str, value: float | None) -> Figure:
    """Give a figure without a label; one that is not known is left out."""
    return Figure(name, meaning, {} if value is None else {"": float(value)})


@dataclass(frozen=True)
class HealthReport:
    """All of it, at one moment.

    Attributes:
        program: Whose; begins the name of each metric.
        conditions: A code for each that does not hold, and "" for one that does.
        figures: In the order in which they are shown.
    """

    program: str
    conditions: Mapping[str, str]
    figures: tuple[Figure, ...] = field(default_factory=tuple)

    @property
    def is_healthy(self) -> bool:
        """Whether every condition holds."""
        return not any(self.conditions.values())

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        return {
            "healthy": self.is_healthy,
            "conditions": dict(self.conditions),
            "figures": {f.name: _plain(f) for f in self.figures},
        }

    def json_bytes(self) -> bytes:
        """Give the body of `/healthz`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False).encode() + b"\n"

    def metrics_text(self) -> str:
        """Give the body of `/metrics`."""
        held = {name: float(not code) for name, code in self.conditions.items()}
        own = (
            figure("healthy", "1 where every condition holds.", float(self.is_healthy)),
            Figure("condition", "1 where the condition holds.", held, "condition"),
        )
        lines = [line for one in (*own, *self.figures) for line in self._lines_of(one)]
        return "\n".join(lines) + "\n"

    def _lines_of(self, one: Figure) -> list[str]:
        if not one.values:
            return []
        name = f"{self.program}_{one.name}"
        lines = [f"# HELP {name} {_escaped(one.meaning)}", f"# TYPE {name} {one.kind}"]
        for value_of_label, value in one.values.items():
            labels = f'{{{one.label}="{_escaped(value_of_label)}"}}' if one.label else ""
            lines.append(f"{name}{labels} {_number(value)}")
        return lines


def _plain(one: Figure) -> Any:
    values = {label: _shown(value) for label, value in one.values.items()}
    return values if one.label else values.get("")


def _shown(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("a figure is a finite number")
    return str(_shown(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def require_port(key: str, value: int) -> None:
    """Check a setting that names the port.

    Raises:
        ConfigurationError: It is none.
    """
    if not 0 <= value <= _MAX_PORT:
        raise ConfigurationError(
            f"{key} is {value}", hint=f"choose 1 to {_MAX_PORT}; 0 serves no health page"
        )

"""Which parameters a job leaves as they came."""

import fnmatch
from collections.abc import Sequence

from torch import nn
from torch.nn import Parameter

from fedward_common.errors import ConfigurationError

_SHOWN_LAYERS = 40


def freeze_layers(module: nn.Module, patterns: Sequence[str]) -> list[Parameter]:
    """Freeze the parameters that a pattern names and thaw all others.

    A pattern is a layer's name, which stands for all below it (`features`), or has wildcards that
    match a parameter's whole name (`layer[12].*`).

    Returns:
        The parameters that stay trainable, in the module's order.

    Raises:
        ConfigurationError: A pattern matches nothing, or nothing is left to train.
    """
    frozen: set[str] = set()
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        matched = {name for name in names if _matches(name, pattern)}
        if not matched:
            raise ConfigurationError(
                f"model.frozen names {pattern!r}, which matches no layer",
                hint=f"layers: {_layers_of(names)}",
            )
        frozen |= matched
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if len(frozen) == len(names):
        raise ConfigurationError(
            "model.frozen leaves nothing to train", hint=f"layers: {_layers_of(names)}"
        )
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(f"{pattern}.") or fnmatch.fnmatchcase(name, pattern)


def _layers_of(names: list[str]) -> str:
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = len(layers) - _SHOWN_LAYERS
    return ", ".join(layers[:_SHOWN_LAYERS]) + (f" and {more} more" if more > 0 else "")

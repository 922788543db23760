"""Every code that a site's program can send, read from its source.

A code is a constant that is given as `code`: to an error, to a function that takes one, or as the
`code` of a class of errors. What belongs to one case of a cohort alone is never the code of a
refusal, but for those of the machine, with which a whole cohort is refused.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedward_client.cohorts.passing_codes import PASSING_CODES

_ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = {"fedward_client": _ROOT / "client", "fedward_common": _ROOT / "common"}
_ENTRY = "fedward_client.daemon.app"
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,59}")
# Errors of one case; and what handlers name the code of an answer that is kept in a list.
_NOT_SENT = frozenset({"UnusableCaseError", "Departure"})
# Raised by commands of a person and by the coordinator alone.
_NEVER_AT_A_SITE = frozenset({"QUORUM_NOT_REACHED", "STOPPED"})
_TABLE = "_CODE_OF_FIELD"


def sent_codes() -> frozenset[str]:
    """Give every code that can leave a site."""
    modules = _closure(_ENTRY)
    constants = {name: _constants_of(tree) for name, tree in modules.items()}
    found = {code for name in modules for code in _Module(name, modules, constants).codes()}
    found |= PASSING_CODES
    return frozenset(found - _NEVER_AT_A_SITE)


def _path_of(module: str) -> Path | None:
    folder = _FOLDERS.get(module.split(".")[0])
    if folder is None:
        return None
    path = folder.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((found for found in candidates if found.is_file()), None)


def _closure(entry: str) -> dict[str, ast.Module]:
    """Parse a module and all that it imports, wherever in a module it does so."""
    found: dict[str, ast.Module] = {}
    left = [entry]
    while left:
        module = left.pop()
        path = _path_of(module)
        if module in found or path is None:
            continue
        found[module] = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(found[module]):
            if isinstance(node, ast.Import):
                left += [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                left += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
    return found


def _constants_of(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _takers_of_code(tree: ast.Module) -> dict[str, int]:
    """Give the functions that are told a code, each with its place among the arguments."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            if "code" in arguments:
                found[node.name] = arguments.index("code")
    return found


@dataclass
class _Module:
    name: str
    modules: dict[str, ast.Module]
    constants: dict[str, dict[str, str]]

    def __post_init__(self) -> None:
        self._names = dict(self.constants[self.name])
        self._imported: dict[str, str] = {}
        self._takes_code: dict[str, int] = {}
        for node in ast.walk(self.modules[self.name]):
            if isinstance(node, ast.ImportFrom) and node.module:
                self._import(node.module, node.names)
        self._takes_code |= _takers_of_code(self.modules[self.name])

    def _import(self, module: str, names: list[ast.alias]) -> None:
        for name in names:
            known, full = name.asname or name.name, f"{module}.{name.name}"
            if full in self.constants:
                self._imported[known] = full
            elif name.name in self.constants.get(module, {}):
                self._names[known] = self.constants[module][name.name]
            elif module in self.modules:
                place = _takers_of_code(self.modules[module]).get(name.name)
                if place is not None:
                    self._takes_code[known] = place

    def codes(self) -> Iterator[str]:
        for node in ast.walk(self.modules[self.name]):
            for value in self._values_in(node):
                yield from self._texts(value)

    def _values_in(self, node: ast.AST) -> Iterator[ast.expr]:
        match node:
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)):
                if called in _NOT_SENT:
                    return
                yield from (word.value for word in node.keywords if word.arg == "code")
                place = 0 if called == "Refusal" else self._takes_code.get(called)
                if place is not None and place < len(node.args):
                    yield node.args[place]
            case ast.ClassDef(body=body) if self.name.endswith(".errors"):
                for line in body:
                    match line:
                        case ast.Assign(targets=[ast.Name(id="code")], value=value):
                            yield value
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(values=values)):
                if name == _TABLE:
                    yield from values

    def _texts(self, value: ast.expr) -> Iterator[str]:
        match value:
            case ast.Constant(value=str(text)) if _CODE.fullmatch(text):
                yield text
            case ast.Name(id=name) if name in self._names:
                yield from self._texts(ast.Constant(self._names[name]))
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in self._imported:
                text = self.constants[self._imported[module]].get(name, "")
                yield from self._texts(ast.Constant(text))
            case ast.IfExp(body=body, orelse=other):
                yield from self._texts(body)
                yield from self._texts(other)

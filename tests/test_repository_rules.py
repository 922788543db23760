"""Rules of the repository that no tool checks."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("common", "client", "server")
MAX_LINES = 400
# Put together here, so that this file does not break its own rule.
_HOMES = ("home", "root", "Users", "work", "mnt")
MACHINE_PATH = re.compile(
    rf"(?<![\w.~}}/:-])/(?:{'|'.join(_HOMES)})/\w|[A-Z]:\\\\?Users\\", re.ASCII
)


def source_files() -> list[Path]:
    return [file for folder in SOURCE_FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def test_files() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


test_files.__test__ = False  # type: ignore[attr-defined]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def offenders(files: list[Path], broken: Callable[[Path], object]) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in files if broken(file)]


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def is_set_to(call: ast.Call, keyword: str, value: bool) -> bool:
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in call.keywords
    )


def imported_modules(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_there_is_source_to_check() -> None:
    assert len(source_files()) > 50


def test_no_source_file_is_longer_than_400_lines() -> None:
    assert offenders(source_files(), lambda f: len(f.read_text().splitlines()) > MAX_LINES) == []


def test_every_module_says_what_it_is_for() -> None:
    assert offenders(source_files(), lambda file: not ast.get_docstring(tree_of(file))) == []


def test_no_assert_outside_the_tests() -> None:
    def asserts(file: Path) -> bool:
        return any(isinstance(node, ast.Assert) for node in ast.walk(tree_of(file)))

    assert offenders(source_files(), asserts) == []


def test_nothing_that_unpickles_is_imported() -> None:
    unpicklers = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}

    def imports(file: Path) -> bool:
        return not unpicklers.isdisjoint(n.split(".")[0] for n in imported_modules(tree_of(file)))

    assert offenders(source_files(), imports) == []


def test_no_pickle_is_loaded_through_another_library() -> None:
    def loads(file: Path) -> bool:
        return any(
            is_set_to(call, "allow_pickle", True) or is_set_to(call, "weights_only", False)
            for call in calls(tree_of(file))
        )

    assert offenders(source_files(), loads) == []


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"\btorch\.manual_seed\b", "it seeds every device and whoever else draws numbers"),
        (r"\bfrom torch import .*\bmanual_seed\b", "the same by another name"),
        (r"\bverify\s*=\s*False\b", "an unchecked certificate"),
        (r"\bCERT_NONE\b|\b_create_unverified_context\b", "an unchecked certificate"),
        (r"\bshell\s*=\s*True\b", "a shell string"),
        (r"\bos\.system\(|\bos\.popen\(", "a shell string"),
        (r"(?<![\w.])(?:eval|exec)\(", "code from text"),
    ],
)
def test_a_dangerous_call_is_nowhere(pattern: str, why: str) -> None:
    assert offenders(source_files(), lambda f: re.search(pattern, f.read_text())) == [], why


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    found = [ROOT / name for name in names if name]
    # An unpacked source archive has no git; there every file counts.
    return [f for f in found if f.is_file()] or [*source_files(), *test_files()]


def text_of(file: Path) -> str:
    content = file.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


def test_no_tracked_text_names_a_folder_of_one_machine() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in tracked_files()
        for number, line in enumerate(text_of(file).splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("home", _HOMES)
def test_the_rule_on_paths_finds_what_it_should(home: str) -> None:
    assert MACHINE_PATH.search(f'"/{home}/ada/data"')
    assert MACHINE_PATH.search(f"cd /{home}/x")
    assert not MACHINE_PATH.search(f"https://example.org/{home}/x")
    assert not MACHINE_PATH.search(f"./{home}/x and tests/{home}/x")


def test_no_test_hides_in_a_file_that_pytest_does_not_collect() -> None:
    def hides(file: Path) -> bool:
        collected = file.name.startswith("test_") or file.name == "conftest.py"
        return not collected and any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name.lower().startswith("test")
            for node in ast.walk(tree_of(file))
        )

    assert offenders(test_files(), hides) == []


def test_a_file_beside_the_tests_is_imported_by_one_of_them() -> None:
    imported = {name for file in test_files() for name in imported_modules(tree_of(file))}

    def unused(file: Path) -> bool:
        if file.name.startswith("test_") or file.name == "conftest.py":
            return False
        return ".".join(file.relative_to(ROOT).with_suffix("").parts) not in imported

    assert offenders(test_files(), unused) == []


def test_test_folders_are_no_packages() -> None:
    assert offenders(test_files(), lambda file: file.name == "__init__.py") == []


def test_the_licence_is_apache_2_0() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "folder",
    [
        "common/fedward_common/wire",
        "common/fedward_common/crypto",
        "common/fedward_common/models",
        "common/fedward_common/evaluation",
        "common/fedward_common/job",
        "client/fedward_client/daemon",
        "client/fedward_client/cohorts",
        "client/fedward_client/training",
        "server/fedward_server/coordinator",
        "server/fedward_server/simulation",
        "tests/common",
        "tests/client",
        "tests/server",
        "tests/vectors",
        "tests/attacks",
        "benchmarks",
        "docs/decisions",
        "examples",
    ],
)
def test_a_folder_of_the_layout_is_there(folder: str) -> None:
    assert any((ROOT / folder).iterdir())


@pytest.mark.parametrize(
    "package", ["common/fedward_common", "client/fedward_client", "server/fedward_server"]
)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_known_answers_name_their_source() -> None:
    vectors = sorted((ROOT / "tests" / "vectors").glob("*.json"))
    assert vectors
    assert offenders(vectors, lambda file: '"source":' not in file.read_text()) == []

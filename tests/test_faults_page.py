"""Every test that the page on faults names is one that there is."""

import re
from pathlib import Path

_NAME = re.compile(r"`(test_[a-z0-9_]+)`")


def test_every_test_on_the_page_of_faults_is_there(project_root: Path) -> None:
    named = set(_NAME.findall((project_root / "docs" / "FAULTS.md").read_text(encoding="utf-8")))
    code = "".join(file.read_text(encoding="utf-8") for file in project_root.glob("tests/**/*.py"))
    missing = sorted(name for name in named if f"def {name}(" not in code)
    assert len(named) > 20
    assert missing == []

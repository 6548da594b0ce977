"""The pages' Python is run as it stands, block after block."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["docs/extending.md"])
def test_the_examples_of_a_page(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.S)
    assert blocks
    module = types.ModuleType("page_of_examples")  # dataclasses look their module up
    sys.modules[module.__name__] = module
    for block in blocks:
        exec(compile(block, page, "exec"), module.__dict__)


def test_the_readme_trains_in_fifteen_lines() -> None:
    [block, *_] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(block.splitlines()) <= 15
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(block.replace("epochs=10", "epochs=1"), "README.md", "exec"), names)


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.name
)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:tf_fenrec|tests|trainers|benchmarks|export|serving)/[\w/]+\.(?:py|md|json))`", text):
        assert (ROOT / name).exists(), name


def test_every_promise_names_a_test_that_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert named
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), (path, name)

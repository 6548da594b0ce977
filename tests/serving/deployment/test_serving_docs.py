"""docs/SERVING.md: its commands, answers and links."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from deployment_files import ROOT, fetched

TEXT = (ROOT / "docs" / "SERVING.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = [
    shlex.split(command, comments=True)
    for language, block in BLOCKS
    if language == "sh"
    for command in re.split(r"\n(?=\S)", block.replace("\\\n", ""))
]


def test_curl(server):
    """What the text sends is answered, with the fields that the text shows."""
    shown = [json.loads(block) for language, block in BLOCKS if language == "json"]
    sent = [command for command in COMMANDS if command[:1] == ["curl"]]
    assert len(sent) == len(shown) == 2
    for (_, url, _, body), answer in zip(sent, shown, strict=True):
        got = fetched(server, url.removeprefix("http://127.0.0.1:8501"), body)
        [key] = got
        assert answer.keys() == got.keys()
        rows = (answer[key], got[key]) if key == "outputs" else (answer[key][0], got[key][0])
        assert rows[0].keys() == rows[1].keys()


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command[0] == "python"], ids=lambda command: command[1]
)
def test_options_of_tools(command):
    assert (ROOT / command[1]).is_file()
    tool = importlib.import_module(f"tf_fenrec.cli.{Path(command[1]).stem}")
    tool.parser().parse_args(command[2:])


def test_python():
    for language, block in BLOCKS:
        if language == "python":
            compile(block, "docs/SERVING.md", "exec")


def test_signatures(exported):
    """Every tensor of every signature is in the text."""
    card = json.loads((exported.path / "assets.extra" / "model_card.json").read_text())
    text = TEXT.split("## Signatures")[1].split("### Errors")[0]
    for name, signature in card["signatures"].items():
        for tensor in [name, *signature["inputs"], *signature["outputs"]]:
            assert f"`{tensor}`" in text


def test_links_to_files():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("https://") or (ROOT / "docs" / link).exists(), link

"""What the site makes itself: the command-line reference, the tutorial's page, links into the repository."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_DOCS = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add pages that are made of the program and the notebook."""
    files.append(File.generated(config, "reference/command-line.md", content=command_line_page()))
    files.append(File.generated(config, "tutorial.md", content=notebook_page(_DOCS / "tutorial.ipynb")))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links to files of the repository become their paths: the site must be whole without it."""
    here = PurePosixPath(page.file.src_uri).parent

    def named(match: re.Match[str]) -> str:
        target = match[3]
        if re.match(r"[a-z]+:", target) or not _leaves_docs(here, target):
            return match[0]
        return f"{match[2]} (`{_inside(here, target)}`)"

    return _LINK.sub(named, markdown)


def _inside(here: PurePosixPath, target: str) -> str:
    parts: list[str] = []
    for part in ("docs" / here / target).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _leaves_docs(here: PurePosixPath, target: str) -> bool:
    return not _inside(here, target).startswith("docs/")


def command_line_page() -> str:
    """Every command's help, as the program itself prints it."""
    import os

    os.environ["COLUMNS"] = "100"
    from deeppsma.cli.commands import build_parser

    parts = ["# Command line\n\nWhat `deeppsma COMMAND --help` prints.\n"]
    for name, parser in _commands(build_parser()):
        heading = "##" if " " in name else "#"
        parts.append(f"{heading}# {name}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                found.append((f"{parser.prog} {name}".removeprefix("deeppsma "), child))
                found += _commands(child)
    return found


def notebook_page(path: Path) -> str:
    """A notebook's cells as Markdown; its outputs are left out, the tests run it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts)

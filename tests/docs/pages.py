"""The pages of the documentation, and the programs and shell sessions in them.

```python         with "# name.py" in its first line: a file that the page's sessions use; else a fragment
```console        commands after "$ ", and what they print. "…" stands for anything in a line, alone for any lines;
                  a comment after four blanks ("$ stepwell dev    # in another") says that the command goes on
```sql            on the page about operations, run there; else shown only
```text, json, …  shown only
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (?P<name>\w+\.py)\n")


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """What its first line says that the file is called."""
        found = _FILE_NAME.match(self.text)
        return found["name"] if found else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """A line of a session after ``$``, with the output that the page shows."""

    text: str
    output: list[str]


def blocks(page: Path, language: str) -> list[Block]:
    """Return a page's code blocks in one language."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 2, found["language"], found["text"])
        for found in _BLOCK.finditer(text)
        if found["language"] == language
    ]


def session(page: Path | Block) -> list[Command]:
    """Return the commands of a page, or of one block, in their order."""
    commands: list[Command] = []
    for block in [page] if isinstance(page, Block) else blocks(page, "console"):
        for line in block.text.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line.removeprefix("$ "), []))
            else:
                commands[-1].output.append(line)
    return commands


def fits(command: Command, shown: str) -> bool:
    """Compare output with the page, where ``…`` stands for anything in a line, and alone for any lines.

    Fails with both, for people.
    """
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else _line(line) + r" *\n" for line in command.output)
    assert re.fullmatch(pattern, shown), "\n".join([f"$ {command.text}", shown, "--- on the page:", *command.output])
    return True


def _line(line: str) -> str:
    """Blanks are as good as others: columns are as wide as what they hold."""
    words = [".*".join(map(re.escape, word.split("…"))) for word in line.split()]
    return r" *" + r" +".join(words) if words else ""

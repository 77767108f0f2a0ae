"""Make a picture of what a command really prints on a terminal, for the documentation.

    python -m tools.picture docs/images/run.svg --columns 96 -- stepwell runs show

The picture names no font to fetch from elsewhere, so that it looks the same wherever it is shown.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import shlex
from html import escape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_ERASE_LINE, _SHOW_CURSOR = "\x1b[2K", "\x1b[?25h"
_BACKGROUND = "#181b22"
_THEME = TerminalTheme(
    (24, 27, 34),
    (205, 210, 218),
    [
        (60, 66, 78),
        (240, 113, 120),
        (126, 199, 127),
        (232, 191, 106),
        (110, 170, 240),
        (198, 146, 233),
        (94, 196, 206),
        (205, 210, 218),
    ],
)
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
    <title>TITLE</title>
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    <rect fill="BACKGROUND" width="{width}" height="{height}" rx="8"/>
    <g transform="translate(12, 12)" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def printed(command: list[str]) -> str:
    """Run a command on a terminal of its own; return what it prints: of something that it draws again, the last."""
    output = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65_536)
        output.extend(data)
        return data

    pty.spawn(command, read)
    return output.decode().rpartition(_ERASE_LINE)[2].replace(_SHOW_CURSOR, "").replace("\r\n", "\n")


def picture(text: str, command: str, columns: int) -> str:
    """Draw what was printed, under the command as it was typed."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bright_black"), (command, "bold")))
    console.print(Text.from_ansi(text.rstrip()))
    form = _FORMAT.replace("TITLE", escape(command)).replace("BACKGROUND", _BACKGROUND)
    return console.export_svg(theme=_THEME, code_format=form, unique_id="stepwell")


def main() -> None:
    """Read the arguments, run the command, write the picture."""
    parser = argparse.ArgumentParser(description="Make a picture of what a command prints.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--columns", type=int, default=96)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    os.environ |= {"COLUMNS": str(options.columns), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    text = printed(options.command)
    options.file.write_text(picture(text, shlex.join(options.command), options.columns), encoding="utf-8")


if __name__ == "__main__":
    main()

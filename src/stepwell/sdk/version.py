"""The SDK's name on the wire (protocol 1.4)."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
AUTHOR: Final = "stepwell"
LANGUAGE: Final = "py"

SDK: Final = f"{AUTHOR}-{LANGUAGE}:v{VERSION}"
"""The value of ``X-Inngest-SDK``. Servers drop an optional ``inngest-`` and split at the first colon."""

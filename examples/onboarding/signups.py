"""The people who sign up in the demo, from ``signups.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypedDict

FILE = Path(__file__).with_name("signups.csv")


class SignUp(TypedDict):
    """What the event ``user.signedup`` carries."""

    id: int
    name: str
    email: str
    plan: str


def read_signups(count: int | None = None) -> list[SignUp]:
    """Read the first ``count`` of them, or all."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    return [SignUp(id=int(row["id"]), name=row["name"], email=row["email"], plan=row["plan"]) for row in rows]

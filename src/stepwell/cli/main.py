"""Where ``stepwell`` starts."""

from __future__ import annotations

import sys

_OURS = "stepwell"


def main() -> None:
    """Run the command line. Without the packages of the server extra, say how to get them."""
    try:
        from stepwell.cli.commands import app
    except ModuleNotFoundError as error:
        raise SystemExit(_explained(error)) from None
    app()


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Return what to say when a package of the server extra isn't there; None when the module is ours: that is a bug."""
    name = (error.name or "").partition(".")[0]
    if not name or name == _OURS:
        return None
    return f'the command line and the server need {name}, which is not installed: pip install "stepwell[server]"'


def _explained(error: ModuleNotFoundError) -> int:
    text = missing_extra(error)
    if text is None:
        raise error
    print(f"stepwell: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()

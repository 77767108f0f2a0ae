"""``stepwell doctor``: is every promise kept?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stepwell.cli.client import ApiTokenOption, JsonFlag, UrlOption, connect, fail


def doctor(
    latest: Annotated[bool, typer.Option("--latest", help="Show what was found last, and check nothing now.")] = False,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Check that no run is stuck and nothing is left over, and mend what is. Ends with status 1 if anything was."""
    from stepwell.cli.answers import Diagnosis, LatestDiagnosis
    from stepwell.cli.screen import clock_text

    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("GET" if latest else "POST", "/api/doctor").decode() + "\n")
            return
        found = api.get("/api/doctor", LatestDiagnosis).latest if latest else api.post("/api/doctor", Diagnosis)
    if found is None:
        fail("nothing was checked yet")
    seen = ", ".join(f"{count:,} {what}" for what, count in found.checked.items())
    print(f"checked at {clock_text(found.ended_at)}: {seen}" + ("" if found.is_whole else "; the rest is next"))
    for finding in found.findings:
        what = finding.fault.replace("_", " ")
        some = f": {', '.join(finding.examples)}" if finding.is_fault else ""
        print(f"  {finding.found:,} {what}, {finding.mended:,} mended{some}")
    print("every promise is kept" if found.is_healthy else "something was broken: please report it")
    if not found.is_healthy:
        raise typer.Exit(1)

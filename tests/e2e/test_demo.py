"""The built-in demo app, from ``stepwell dev --demo`` to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from tests.e2e.harness import Server, eventually

DEMO = "stepwell-demo"


def runs(server: Server, function: str) -> list[dict[str, Any]]:
    return server.api(f"/runs?function={DEMO}-{function}&limit=100")["items"]


def has_seen_work(server: Server, function: str) -> bool:
    """Tell whether calls are over that were seen waiting and in progress."""
    stats = server.api(f"/functions/{DEMO}-{function}/stats?hours=1")
    return stats["running"] == 0 and any(one["backlog"] and one["running"] == 2 for one in stats["buckets"])


def demo_processes(server: Server) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.pid).children() if "stepwell.demo" in child.cmdline()]


def test_the_demo_gives_each_page_something_to_show_until_it_is_off(tmp_path: Path) -> None:
    with Server(tmp_path, "dev", "--demo") as server:
        eventually(
            lambda: [run for run in runs(server, "process-order") if run["status"] == "completed"],
            what="an order is processed",
            within_s=40,
        )
        [payment, *_] = [run for run in runs(server, "take-payment") if run["status"] == "completed"][-1:]
        rows = server.api(f"/runs/{payment['id']}/timeline")["rows"]
        assert [row["status"] for row in rows if row["kind"] == "attempt" and row["title"] == "charge-card"] == [
            "retrying", "retrying", "completed",
        ]  # fmt: skip
        eventually(lambda: runs(server, "onboard-user"), what="a user signed up")
        eventually(
            lambda: has_seen_work(server, "resize-photo"),
            what="photos have waited for their turn while two of them were resized, and that is still shown",
            within_s=40,
        )
        assert server.api("/demo")["is_on"]
        levels = {line["level"] for line in server.api("/logs?limit=100")["items"]}
        assert {"info", "warning"} <= levels
        [process] = demo_processes(server)

        off = server.api("/demo", method="POST", json={"on": False})

        assert (off["is_on"], off["cancelled_runs"] > 0) == (False, True)
        assert server.api(f"/runs?app={DEMO}&status=queued,running")["items"] == []
        cancelled = server.api(f"/runs?app={DEMO}&status=cancelled&limit=100")["items"]
        assert len(cancelled) == off["cancelled_runs"]
        assert not process.is_running()
        assert server.api("/apps")["items"] == []
        assert runs(server, "take-payment")
        assert server.api("/demo", method="POST", json={"on": True})["is_on"]
        eventually(lambda: server.api("/apps")["items"], what="the demo is back")
        [process] = demo_processes(server)
        assert server.stop() == 0
        assert not process.is_running()


def test_the_demo_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with Server(tmp_path, "dev") as server:
        server.api("/demo", method="POST", json={"on": True})
        eventually(lambda: runs(server, "onboard-user"), what="a user signed up", within_s=40)
        [process] = demo_processes(server)

        server.kill()

        process.wait(10)
        server.start()
        assert server.api("/apps")["items"] == []
        eventually(
            lambda: server.api(f"/runs?app={DEMO}&status=queued,running")["items"] == [], what="its runs are cancelled"
        )


def test_a_production_server_has_no_demo(tmp_path: Path) -> None:
    with Server(tmp_path, "start") as server:
        answer = server.ask_api("/demo", method="POST", json={"on": True})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "dev_only")

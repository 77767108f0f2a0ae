"""The login of a production server as its user meets it, and what its output must not hold."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2

from tests.e2e.harness import API_TOKEN, Server, eventually, run_stepwell

PASSWORD = "a password for the dashboard"
_LINK = re.compile(r"^  (http://127\.0\.0\.1:\d+)/setup#([\w-]{43})$", re.MULTILINE)


def links(server: Server) -> list[str]:
    return [found[2] for found in _LINK.finditer(server.output())]


def browser(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers={"Origin": server.url}, trust_env=False, timeout=20)


def test_from_the_printed_link_to_a_reset(tmp_path: Path) -> None:
    with Server(tmp_path, "start") as server, browser(server) as page:
        [link] = eventually(lambda: links(server), what="the link is printed")

        made = page.post("/api/setup", json={"token": link, "password": PASSWORD})
        token = page.post("/api/tokens", json={"name": "ci"}).json()["token"]
        cookie = page.cookies["stepwell"]
        assert made.status_code == 200
        assert page.get("/api/runs").status_code == 200
        assert page.post("/api/session", json={"password": "not the password"}).status_code == 401
        assert page.get("/api/runs", headers={"Authorization": "Bearer sw_of-nobody"}).status_code == 401
        assert page.post("/api/session", json={"password": PASSWORD}).status_code == 200

        reset = run_stepwell(tmp_path, "account", "reset", "--db", str(server.db), "--url", server.url)
        assert reset.returncode == 0, reset.stderr
        [again] = [found[2] for found in _LINK.finditer(reset.stdout)]
        eventually(lambda: page.get("/api/runs").status_code == 401, what="the session has ended")
        assert page.post("/api/setup", json={"token": link, "password": PASSWORD}).status_code == 403
        assert page.post("/api/setup", json={"token": again, "password": PASSWORD}).status_code == 200
        runs = run_stepwell(tmp_path, "runs", "list", "--url", server.url, "--api-token", token)
        assert runs.returncode == 0, runs.stderr

        server.stop()
        server.start()
        assert links(server) == [link]  # there is an account: no start prints another
        for secret in (PASSWORD, cookie, token, again, API_TOKEN):
            assert secret not in server.output()


def test_each_of_two_replicas_prints_a_link_and_one_of_them_makes_the_account(
    tmp_path: Path, postgres_url: str
) -> None:
    with (
        Server(tmp_path, "start", name="one", db=postgres_url) as one,
        Server(tmp_path, "start", name="two", db=postgres_url) as two,
        browser(one) as page,
        browser(two) as other,
    ):
        [first] = eventually(lambda: links(one), what="a link is printed")
        [second] = eventually(lambda: links(two), what="a link is printed")

        made = page.post("/api/setup", json={"token": second, "password": PASSWORD})
        late = other.post("/api/setup", json={"token": first, "password": "another password"})

        assert (made.status_code, late.status_code) == (200, 403)
        assert other.post("/api/session", json={"password": PASSWORD}).status_code == 200

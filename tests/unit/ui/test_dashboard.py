from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from stepwell.ui import dashboard

ROUTER = Path(__file__).parents[3] / "ui" / "src" / "router.tsx"


def client(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=dashboard.routes(folder)))


@pytest.fixture
def built(tmp_path: Path) -> TestClient:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<meta name="csp-nonce" content="" /><script src="/assets/a-1.js"></script>')
    (tmp_path / "assets" / "a-1.js").write_text("let a")
    (tmp_path / "assets" / "a-1.js.gz").write_bytes(gzip.compress(b"let a"))
    (tmp_path / "assets" / "b-2.css").write_text("a {}")
    return client(tmp_path)


def test_every_address_of_the_router_is_answered_with_the_page(built: TestClient):
    addresses = re.findall(r'path: "([^"]+)"', ROUTER.read_text())
    assert len(addresses) > 10
    for address in addresses:
        answer = built.get(re.sub(r"\$\w+", "some.thing-1", address))
        assert answer.status_code == 200, address
        assert "/assets/a-1.js" in answer.text


def test_the_policy_lets_nothing_in_but_what_is_ours(built: TestClient):
    answer = built.get("/runs")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_each_answer_has_a_nonce_of_its_own(built: TestClient):
    nonces: set[str] = set()
    for _ in range(2):
        answer = built.get("/")
        found = re.search(r'name="csp-nonce" content="([\w-]+)"', answer.text)
        assert found is not None
        assert f"'nonce-{found[1]}'" in answer.headers["content-security-policy"]
        nonces.add(found[1])
    assert len(nonces) == 2


def test_assets_are_kept_for_ever_and_sent_small(built: TestClient):
    answer = built.get("/assets/a-1.js", headers={"Accept-Encoding": "br, gzip"})
    assert answer.text == "let a"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")


def test_who_reads_no_gzip_gets_the_file_itself(built: TestClient):
    answer = built.get("/assets/a-1.js", headers={"Accept-Encoding": "identity"})
    assert answer.text == "let a"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/assets/c.js", "/assets/%2e%2e", "/assets/..%2findex.html", "/nope"])
def test_what_is_not_a_built_file_is_not_found(built: TestClient, path: str):
    assert built.get(path).status_code == 404


def test_a_checkout_without_a_build_says_how_to_make_one(tmp_path: Path):
    answer = client(tmp_path).get("/runs")
    assert answer.status_code == 503
    assert "./dev ui" in answer.text

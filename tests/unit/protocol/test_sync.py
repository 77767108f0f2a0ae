"""Reading registrations, as the SDKs write them (protocol 3)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stepwell.protocol.sync import FunctionConfig, plain_url, read_sync

FUNCTION = {
    "id": "my-app-f",
    "steps": {"step": {"id": "step", "runtime": {"type": "http", "url": "http://localhost:3000/?fnId=f&stepId=step"}}},
}
JAVASCRIPT = {
    "url": "http://localhost:3000/api/inngest",
    "deployType": "ping",
    "framework": "express",
    "appName": "my-app",
    "sdk": "js:v4.24.0",
    "v": "0.1",
    "appVersion": "1.2.3",
    "capabilities": {"trust_probe": "v1"},
    "functions": [FUNCTION],
}
PYTHON = {
    "url": "http://localhost:3000/api/inngest",
    "deploy_type": "ping",
    "framework": "fast_api",
    "appname": "my-app",
    "sdk": "py:v0.5.19",
    "v": "0.1",
    "functions": [FUNCTION],
}
IN_BAND = {
    "app_id": "my-app",
    "framework": "fast_api",
    "functions": [FUNCTION],
    "inspection": {"schema_version": "2024-05-24"},
    "sdk_author": "inngest",
    "sdk_language": "py",
    "sdk_version": "0.5.19",
    "url": "https://app.example.com/api/inngest",
    "env": None,
}


@pytest.mark.parametrize(
    ("body", "sdk", "framework", "version"),
    [
        (JAVASCRIPT, "js:v4.24.0", "express", "1.2.3"),
        (PYTHON, "py:v0.5.19", "fast_api", None),
        (IN_BAND, "py:v0.5.19", "fast_api", None),
        ({**IN_BAND, "app_version": "7"}, "py:v0.5.19", "fast_api", "7"),
        ({**JAVASCRIPT, "appVersion": None, "framework": None}, "js:v4.24.0", None, None),
    ],
)
def test_a_registration_is_read_whoever_wrote_it(
    body: Any, sdk: str, framework: str | None, version: str | None
) -> None:
    found = read_sync(json.dumps(body).encode())

    assert (found.appname, found.deploytype, found.sdk, found.framework, found.appversion) == (
        "my-app",
        "ping",
        sdk,
        framework,
        version,
    )
    assert [msgspec.json.decode(function) for function in found.functions] == [FUNCTION]


def test_a_connect_app_says_so() -> None:
    assert read_sync(json.dumps({**JAVASCRIPT, "deployType": "connect"}).encode()).deploytype == "connect"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"url":"x","appName":"a"}',
        b'{"url":1,"appName":"a","functions":[]}',
        b'{"url":"x","appName":["a"],"functions":[]}',
        b'{"url":"x","appName":"a","functions":{}}',
        b'{"url":"x","appName":null,"functions":[]}',
        b'{"url":"x","functions":[],"sdk_language":1,"sdk_version":2}',
        b"\xff",
    ],
)
def test_what_is_no_registration_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        read_sync(raw)


@pytest.mark.parametrize(
    ("extra", "max_attempts"),
    [
        ({}, 5),
        ({"retries": 0}, 1),
        ({"retries": 3}, 4),
        ({"retries": None}, 5),
    ],
)
def test_retries_at_the_top_count_where_the_step_says_nothing(extra: Any, max_attempts: int) -> None:
    config = msgspec.json.decode(json.dumps({**FUNCTION, **extra}), type=FunctionConfig)

    assert config.max_attempts == max_attempts


@pytest.mark.parametrize(
    ("retries", "max_attempts"), [({"attempts": 1}, 2), ({"attempts": None}, 8), ({}, 8), (None, 8)]
)
def test_retries_of_the_step_come_first(retries: Any, max_attempts: int) -> None:
    raw = json.loads(json.dumps({**FUNCTION, "retries": 7}))
    raw["steps"]["step"]["retries"] = retries

    config = msgspec.json.decode(json.dumps(raw), type=FunctionConfig)

    assert config.max_attempts == max_attempts
    assert config.url == "http://localhost:3000/?fnId=f&stepId=step"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://localhost:3000/api/inngest?deployId=x", "http://localhost:3000/api/inngest"),
        ("http://127.0.0.1:3000/api", "http://localhost:3000/api"),
        ("http://0.0.0.0:3000/api", "http://localhost:3000/api"),
        ("http://[::1]:3000/api", "http://localhost:3000/api"),
        ("http://[fd00::1]:3000/api", "http://[fd00::1]:3000/api"),
        ("https://App.Example.com/api#part", "https://app.example.com/api"),
        ("https://app.example.com", "https://app.example.com"),
    ],
)
def test_apps_are_compared_by_their_plain_url(url: str, plain: str) -> None:
    assert plain_url(url) == plain
    assert plain_url(plain) == plain


@pytest.mark.parametrize("url", ["http://[::1/api", "http://a:99999/", "http://a:x/"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|Port"):
        plain_url(url)

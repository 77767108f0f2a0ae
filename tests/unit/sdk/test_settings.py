"""Where an app's settings come from, and which wins."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import ConfigError
from stepwell.sdk.settings import read_settings


@pytest.mark.parametrize(
    ("environ", "arguments", "is_dev", "api", "events"),
    [
        ({}, {}, False, None, None),
        ({"STEPWELL_DEV": "1"}, {}, True, "http://127.0.0.1:8288", "http://127.0.0.1:8288"),
        ({"INNGEST_DEV": "true"}, {}, True, "http://127.0.0.1:8288", "http://127.0.0.1:8288"),
        ({"INNGEST_DEV": "0"}, {}, False, None, None),
        ({"STEPWELL_DEV": "0", "INNGEST_DEV": "1"}, {}, False, None, None),
        ({"STEPWELL_DEV": "http://dev:1/"}, {}, True, "http://dev:1", "http://dev:1"),
        ({"STEPWELL_DEV": "http://dev:1", "INNGEST_BASE_URL": "http://base"}, {}, True, "http://base", "http://base"),
        ({"STEPWELL_URL": "http://a", "STEPWELL_BASE_URL": "http://b"}, {}, False, "http://a", "http://a"),
        ({"STEPWELL_BASE_URL": "http://b", "INNGEST_BASE_URL": "http://c"}, {}, False, "http://b", "http://b"),
        (
            {
                "INNGEST_BASE_URL": "http://b",
                "INNGEST_API_BASE_URL": "http://api",
                "INNGEST_EVENT_API_ORIGIN": "http://e",
            },
            {},
            False,
            "http://api",
            "http://e",
        ),
        ({"STEPWELL_URL": "http://a"}, {"url": "https://arg:5/x/"}, False, "https://arg:5/x", "https://arg:5/x"),
        ({"STEPWELL_DEV": "1"}, {"is_dev": False}, False, None, None),
        ({"STEPWELL_DEV": "0"}, {"is_dev": True}, True, "http://127.0.0.1:8288", "http://127.0.0.1:8288"),
    ],
)
def test_mode_and_origins(
    environ: dict[str, str], arguments: dict[str, Any], is_dev: bool, api: str | None, events: str | None
) -> None:
    settings = read_settings(environ, **arguments)

    assert (settings.is_dev, settings.api_origin, settings.event_origin) == (is_dev, api, events)
    assert settings.mode == ("dev" if is_dev else "cloud")


def test_arguments_win_over_our_variables_and_those_over_inngests() -> None:
    environ = {
        "STEPWELL_EVENT_KEY": "ours",
        "INNGEST_EVENT_KEY": "theirs",
        "INNGEST_SIGNING_KEY": "signkey-prod-12",
        "INNGEST_SIGNING_KEY_FALLBACK": "signkey-prod-34",
        "STEPWELL_ENV": " ",
        "INNGEST_ENV": "branch",
        "STEPWELL_SERVE_ORIGIN": "https://acme.example/",
        "INNGEST_SERVE_PATH": "/hooks",
        "INNGEST_ALLOW_IN_BAND_SYNC": "false",
    }

    settings = read_settings(environ, signing_key="signkey-prod-56")

    assert settings.event_key == "ours"
    assert settings.signing_keys == ["signkey-prod-56", "signkey-prod-34"]
    assert settings.env == "branch"
    assert (settings.serve_origin, settings.serve_path) == ("https://acme.example", "/hooks")
    assert settings.has_in_band_sync is False


@pytest.mark.parametrize("url", ["server:8288", "ftp://server", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the URL of a server"):
        read_settings({"STEPWELL_URL": url})


def test_a_malformed_signing_key_is_refused_in_production_only() -> None:
    with pytest.raises(ConfigError, match="even number of hex digits"):
        read_settings({"STEPWELL_SIGNING_KEY": "signkey-prod-xyz"})

    assert read_settings({"STEPWELL_SIGNING_KEY": "xyz", "STEPWELL_DEV": "1"}).signing_key == "xyz"

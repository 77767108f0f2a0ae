"""A sync of what is known already changes nothing, however the app writes it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.registration import SyncPlan, plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.protocol.sync import read_sync
from tests.unit.engine.making import DEV, T0


def registration(url: str = "http://localhost:3000/api/inngest", **fields: Any) -> dict[str, Any]:
    """Return an out-of-band registration of one function."""
    runtime = {"type": "http", "url": f"{url}?fnId=shop-f&stepId=step"}
    function = {
        "id": "shop-f",
        "name": "f",
        "triggers": [{"event": "a"}],
        "steps": {"step": {"id": "step", "name": "step", "runtime": runtime}},
    }
    app = {"appName": "shop", "deployType": "ping", "sdk": "py:v0.5.19", "framework": "flask"}
    return {"url": url, **app, "functions": [function], **fields}


def plan(raw: bytes, known: SyncPlan | None = None) -> SyncPlan:
    """Plan a sync, after the one that ``known`` is the plan of."""
    functions = [] if known is None else [change.function for change in known.changes]
    apps = [] if known is None else [known.app]
    return plan_sync(read_sync(raw), Registry(DEV, 1, functions), apps, now=T0)


def test_the_same_functions_in_other_bytes_are_no_change() -> None:
    known = plan(msgspec.json.encode(registration()))

    sorted_and_spaced = json.dumps(registration(), sort_keys=True, indent=2).encode()

    assert not plan(sorted_and_spaced, known).is_modified


def test_the_answer_to_an_in_band_sync_is_no_change_after_an_out_of_band_one() -> None:
    known = plan(msgspec.json.encode(registration()))

    in_band = registration() | {"app_id": "shop", "sdk_language": "py", "sdk_version": "0.5.19", "inspection": {}}
    del in_band["appName"], in_band["sdk"], in_band["deployType"]

    assert not plan(msgspec.json.encode(in_band), known).is_modified


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]"])
def test_another_way_to_write_localhost_is_no_change(host: str) -> None:
    known = plan(msgspec.json.encode(registration()))

    synced = plan(msgspec.json.encode(registration(f"http://{host}:3000/api/inngest")), known)

    assert not synced.is_modified
    assert not synced.changes[0].is_changed


@pytest.mark.parametrize("url", ["http://localhost:3001/api/inngest", "http://app:3000/api/inngest"])
def test_another_url_is_a_change_of_the_app_and_its_functions(url: str) -> None:
    known = plan(msgspec.json.encode(registration()))

    synced = plan(msgspec.json.encode(registration(url)), known)

    assert synced.is_modified
    assert synced.changes[0].is_changed
    assert synced.changes[0].function.version == known.changes[0].function.version + 1


def test_another_version_of_the_sdk_is_a_change_of_the_app_alone() -> None:
    known = plan(msgspec.json.encode(registration()))

    synced = plan(msgspec.json.encode(registration(sdk="py:v0.5.20")), known)

    assert synced.is_modified
    assert not synced.changes[0].is_changed

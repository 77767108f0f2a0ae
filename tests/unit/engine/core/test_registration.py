"""What a sync changes, and what it refuses (protocol 3.3, 3.4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import App, Function
from stepwell.engine.core.registration import SyncPlan, app_id, plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.errors import FunctionConfigError
from stepwell.protocol.sync import SyncBody
from tests.unit.engine.making import DEV, T0

URL = "http://localhost:3000/api/inngest"


def config(slug: str = "my-app-f", **fields: Any) -> dict[str, Any]:
    runtime = {"type": "http", "url": f"{URL}?fnId={slug}&stepId=step"}
    return {
        "id": slug,
        "name": slug,
        "triggers": [{"event": "a"}],
        "steps": {"step": {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 4}}},
        **fields,
    }


def body(*functions: Any, app: str = "my-app", **fields: Any) -> SyncBody:
    raw = [msgspec.Raw(json.dumps(function).encode()) for function in functions]
    members: dict[str, Any] = {"url": URL, "appname": app, "functions": raw, **fields}
    return SyncBody(**members)


def plan(wanted: SyncBody, functions: Sequence[Function] = (), apps: Sequence[App] = (), *, now: int = T0) -> SyncPlan:
    return plan_sync(wanted, Registry(DEV, 1, functions), apps, now=now)


def applied(found: SyncPlan) -> list[Function]:
    return [change.function for change in found.changes]


def test_a_first_sync_registers_everything_at_version_1() -> None:
    found = plan(body(config(), config("my-app-g"), sdk="py:v0.5.19", framework="flask", appversion="7"))

    assert found.is_modified
    assert found.archived == ()
    assert found.warnings == ()
    app = found.app
    assert (app.name, app.transport, app.url, app.sdk, app.framework, app.version) == (
        "my-app",
        "http",
        URL,
        "py:v0.5.19",
        "flask",
        "7",
    )
    assert app.id == app_id(DEV, "my-app")
    assert [(f.slug, f.version, f.max_attempts, f.app_id) for f in applied(found)] == [
        ("my-app-f", 1, 5, app.id),
        ("my-app-g", 1, 5, app.id),
    ]
    assert all(change.is_changed for change in found.changes)
    assert json.loads(found.changes[0].config) == config()


def test_the_same_sync_again_changes_nothing() -> None:
    first = plan(body(config()))

    again = plan(body(config()), applied(first), [first.app], now=T0 + 1)

    assert not again.is_modified
    assert [(change.is_changed, change.function.version) for change in again.changes] == [(False, 1)]


@pytest.mark.parametrize(
    "fields",
    [
        {"triggers": [{"event": "b"}]},
        {"triggers": [{"event": "a", "expression": "event.data.n > 1"}]},
        {"name": "another name"},
        {"retries": 3},
        {"concurrency": [{"limit": 5}]},
        # What isn't known is a change as well: a run shows the configuration that it ran with, and a later version
        # must find what the app last said.
        {"unknownField": 1},
    ],
)
def test_a_changed_function_gets_the_next_version(fields: dict[str, Any]) -> None:
    first = plan(body(config(), config("my-app-g")))

    found = plan(body(config(**fields), config("my-app-g")), applied(first), [first.app])

    assert found.is_modified
    assert [(change.is_changed, change.function.version) for change in found.changes] == [(True, 2), (False, 1)]


def test_the_order_of_keys_is_no_change() -> None:
    first = plan(body(config()))
    turned = dict(reversed(config().items()))

    found = plan(body(turned), applied(first), [first.app])

    assert [change.is_changed for change in found.changes] == [False]


def test_functions_that_are_gone_are_archived_and_those_of_other_apps_are_not() -> None:
    other = plan(body(config("other-f"), app="other"))
    first = plan(body(config(), config("my-app-g")), applied(other))
    known = applied(first) + applied(other)

    found = plan(body(config()), known, [first.app, other.app])

    assert found.is_modified
    assert found.archived == (applied(first)[1].id,)


def test_an_archived_function_that_comes_back_keeps_its_version_unless_it_changed() -> None:
    first = plan(body(config()))
    archived = [msgspec.structs.replace(function, is_archived=True) for function in applied(first)]

    same = plan(body(config()), archived, [msgspec.structs.replace(first.app, checksum="older")])
    changed = plan(body(config(retries=1)), archived, [first.app])

    assert [(change.is_changed, change.function.version) for change in same.changes] == [(False, 1)]
    assert [(change.is_changed, change.function.version) for change in changed.changes] == [(True, 2)]
    assert not same.changes[0].function.is_archived
    assert same.archived == ()


def test_an_archived_app_that_comes_back_is_modified() -> None:
    first = plan(body(config()))

    found = plan(body(config()), applied(first), [msgspec.structs.replace(first.app, archived_at=T0)])

    assert found.is_modified


def test_another_url_modifies_the_app() -> None:
    first = plan(body(config()))

    found = plan(body(config(), url="http://localhost:4000/api/inngest"), applied(first), [first.app])

    assert found.is_modified
    assert found.app.url == "http://localhost:4000/api/inngest"


def test_an_app_may_have_no_functions() -> None:
    found = plan(body())

    assert found.is_modified
    assert found.changes == ()


def test_a_connect_app_is_one() -> None:
    assert plan(body(deploytype="connect")).app.transport == "connect"


def test_schedules_come_with_their_first_tick() -> None:
    triggers = [
        {"cron": "TZ=Europe/Paris 0 9 * * *"},
        {"cron": "0 * * * *", "jitter": "30s"},
        {"cron": "0 * * * *"},
        {"cron": "0 0 */31 * 1#2"},
        {"event": "a"},
    ]

    [change] = plan(body(config(triggers=triggers))).changes

    assert change.crons == (
        ("0 * * * *", T0 + 3_600_000),
        ("0 0 */31 * 1#2", None),
        ("TZ=Europe/Paris 0 9 * * *", T0 + 8 * 3_600_000),
    )


def test_a_function_may_have_no_triggers() -> None:
    [change] = plan(body(config(triggers=[]))).changes

    assert change.crons == ()


def test_flow_control_is_registered() -> None:
    flow: dict[str, Any] = {
        "concurrency": [{"limit": 5}],
        "throttle": {"limit": 1, "period": "1s"},
        "cancel": [],
        "timeouts": None,
    }

    found = plan(body(config(**flow)))

    assert found.warnings == ()
    [function] = applied(found)
    assert function.config.throttle is not None
    assert function.config.throttle.limit == 1
    assert json.loads(function.registered) == config(**flow)


def test_a_wildcard_in_a_cancel_rule_is_warned_of() -> None:
    found = plan(body(config(cancel=[{"event": "a/b"}, {"event": "a/*"}])))

    assert found.warnings == (
        "function 'my-app-f' is cancelled by events named 'a/*' alone: a cancel rule has no wildcards",
    )


def test_a_function_that_another_app_has_is_refused() -> None:
    """Composite slugs are ambiguous: app ``a`` with function ``b-c``, app ``a-b`` with function ``c``."""
    other = plan(body(config("a-b-c"), app="a"))

    with pytest.raises(FunctionConfigError, match="another app has a function 'a-b-c'"):
        plan(body(config("a-b-c"), app="a-b"), applied(other), [other.app])

    archived = [msgspec.structs.replace(function, is_archived=True) for function in applied(other)]
    [change] = plan(body(config("a-b-c"), app="a-b"), archived, [other.app]).changes
    assert change.function.app_id == app_id(DEV, "a-b")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (config(""), "1 to 255 characters"),
        (config("x" * 256), "1 to 255 characters"),
        (config(steps={}), "exactly one step"),
        (config(steps={"other": config()["steps"]["step"]}), "exactly one step"),
        (config(steps={"step": config()["steps"]["step"], "b": config()["steps"]["step"]}), "exactly one step"),
        (config(triggers=[{"event": f"e{n}"} for n in range(11)]), "11 triggers; the limit is 10"),
        (config(triggers=[{"event": "a"}, {"event": "a"}]), "same trigger twice"),
        (config(triggers=[{}]), "neither an event nor a cron"),
        (config(triggers=[{"event": "a", "cron": "* * * * *"}]), "or both"),
        (config(triggers=[{"event": ""}]), "1 to 255 characters"),
        (config(triggers=[{"event": "x" * 256}]), "1 to 255 characters"),
        (config(triggers=[{"event": "*"}]), "wildcard"),
        (config(triggers=[{"event": "a*"}]), "wildcard"),
        (config(triggers=[{"event": "a/*/b"}]), "wildcard"),
        (config(triggers=[{"event": "a/*.*"}]), "wildcard"),
        (config(triggers=[{"cron": "61 * * * *"}]), "61"),
        (config(triggers=[{"cron": "TZ=Mars/Base * * * * *"}]), "Mars/Base"),
        (config(triggers=[{"cron": "* * * * *", "jitter": "soon"}]), "soon"),
        (
            config(triggers=[{"cron": "* * * * *", "jitter": "999ms"}]),
            "jitter of a schedule must be 1s to 5m, not '999ms'",
        ),
        (
            config(triggers=[{"cron": "* * * * *", "jitter": "5m1s"}]),
            "jitter of a schedule must be 1s to 5m, not '5m1s'",
        ),
        (config(concurrency=-1), "function 'my-app-f': concurrency.limit must be 0 to"),
        (config(throttle={"limit": 1, "period": "8d"}), "function 'my-app-f': throttle.period must be 1s to 1w"),
        (config(debounce={"period": "1s", "key": "event.data."}), "function 'my-app-f': debounce.key: line 1, column"),
        (
            config(batchEvents={"maxSize": 2, "timeout": "1s"}, cancel=[{"event": "b"}]),
            "function 'my-app-f': batchEvents can't be combined with cancel",
        ),
        (config(triggers=[{"event": "a", "expression": "event.data.n >"}]), "my-app-f"),
        ({"id": "my-app-f"}, r"\$.functions\[0\]"),
        (7, r"\$.functions\[0\]"),
        (config(triggers={"event": "a"}), r"\$.functions\[0\]"),
        (config(retries="many"), r"\$.functions\[0\]"),
        (config(rateLimit={"limit": "1", "period": "1s"}), r"\$.functions\[0\].*\$.rateLimit.limit"),
    ],
)
def test_an_invalid_function_refuses_the_whole_sync_and_is_named(function: Any, message: str) -> None:
    with pytest.raises(FunctionConfigError, match=message):
        plan(body(function, config("my-app-good")))


@pytest.mark.parametrize(
    "url", ["", "/api", "ftp://host/x", "http://", "http:///x", "http://[::1/x", "http://a:99999/", "http://a:b/"]
)
def test_a_url_that_cannot_be_called_is_refused(url: str) -> None:
    step = {**config()["steps"]["step"], "runtime": {"type": "http", "url": url}}

    with pytest.raises(FunctionConfigError, match="URL that can't be called"):
        plan(body(config(steps={"step": step})))


@pytest.mark.parametrize("url", ["http://[::1/x", "http://a:99999/"])
def test_an_app_whose_url_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(FunctionConfigError, match="URL can't be called"):
        plan(body(config(), url=url))


@pytest.mark.parametrize(("attempts", "is_good"), [(0, True), (20, True), (21, False), (-1, False)])
def test_retries_have_limits(attempts: int, is_good: bool) -> None:
    step = {**config()["steps"]["step"], "retries": {"attempts": attempts}}
    wanted = body(config(steps={"step": step}))

    if is_good:
        assert plan(wanted).changes[0].function.max_attempts == attempts + 1
    else:
        with pytest.raises(FunctionConfigError, match="retries"):
            plan(wanted)


@pytest.mark.parametrize("jitter", ["1s", "5m"])
def test_a_schedule_may_have_jitter(jitter: str) -> None:
    assert plan(body(config(triggers=[{"cron": "* * * * *", "jitter": jitter}]))).is_modified


def test_ten_triggers_are_allowed() -> None:
    assert plan(body(config(triggers=[{"event": f"e{n}"} for n in range(10)]))).is_modified


def test_two_functions_of_one_id_are_refused() -> None:
    with pytest.raises(FunctionConfigError, match="two functions"):
        plan(body(config(), config()))


def test_an_app_without_a_name_is_refused() -> None:
    with pytest.raises(FunctionConfigError, match="no name"):
        plan(body(config(), app=""))


def test_an_app_has_a_limit_of_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.core.registration.FUNCTIONS_PER_APP_MAX", 2)
    assert plan(body(config(), config("my-app-g"))).is_modified

    with pytest.raises(FunctionConfigError, match="the limit is 2"):
        plan(body(config(), config("my-app-g"), config("my-app-h")))


@pytest.mark.parametrize("raw", [b"{", b'{"id":"\xff"}', b"[" * 100_000, b""])
def test_a_function_that_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(FunctionConfigError, match=r"\$.functions\[0\]"):
        plan(SyncBody(url=URL, appname="my-app", functions=[msgspec.Raw(raw)]))

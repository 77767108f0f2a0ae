"""``stepwell dev`` and ``stepwell start`` run a server; ``stepwell skip`` moves the clock of one in dev."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.client import ApiTokenOption, UrlOption, connect, fail
from stepwell.cli.database import Db, DbConnections, DbListen, DbPooled, DbSchema, TakeOver, database, option, seconds
from stepwell.cli.retention import FunctionRetention, Retention, retention

if TYPE_CHECKING:
    from stepwell.server.settings import Settings


SdkUrls = Annotated[list[str] | None, option("--sdk-url", "-u", metavar="URL", text="An app to sync; may be repeated.")]
Host = Annotated[str, option("--host", metavar="HOST", text="The address to listen on.")]
Port = Annotated[int, option("--port", "-p", metavar="PORT", text="The port to listen on; 0 picks one.")]
RetryInterval = Annotated[
    float | None,
    option("--retry-interval", metavar="SECONDS", text="Wait so long before each retry, not longer each time."),
]
CallsPerApp = Annotated[
    int | None, option("--calls-per-app", metavar="N", text="Calls to one app at a time. [default: 100]")
]
StepsPerRun = Annotated[
    int | None, option("--steps-per-run", metavar="N", text="Steps that a run may have. [default: 1000]")
]
PrivateFetches = Annotated[
    bool | None,
    option(
        "--allow-private-fetches/--no-allow-private-fetches",
        text="Let step.fetch and step.ai.infer go to private addresses. [default: in dev only]",
    ),
]
Grace = Annotated[
    str | None,
    option("--grace", metavar="TIME", text="Calls under way may go on so long after SIGTERM. [default: 10s]"),
]
Unused = Annotated[str | None, typer.Option(hidden=True)]
UnusedFlag = Annotated[bool, typer.Option(hidden=True)]


def dev(
    sdk_url: SdkUrls = None,
    host: Host = "127.0.0.1",
    port: Port = 8288,
    db: Db = None,
    db_schema: DbSchema = None,
    db_pooled: DbPooled = False,
    db_listen: DbListen = None,
    db_connections: DbConnections = None,
    take_over: TakeOver = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing when it ends.")] = False,
    no_discovery: Annotated[bool, option("--no-discovery", text="Don't look for apps on the usual ports.")] = False,
    no_poll: Annotated[bool, option("--no-poll", text="Don't ask known apps again.")] = False,
    poll_interval: Annotated[
        float, option("--poll-interval", metavar="SECONDS", text="Between two looks at apps.")
    ] = 5.0,
    retry_interval: RetryInterval = None,
    calls_per_app: CallsPerApp = None,
    steps_per_run: StepsPerRun = None,
    keep: Retention = None,
    keep_functions: FunctionRetention = None,
    allow_private_fetches: PrivateFetches = None,
    grace: Grace = None,
    demo: Annotated[bool, option("--demo", text="Run a built-in demo app, which sends events.")] = False,
    quiet: Annotated[bool, option("--quiet", text="No line for each thing that happens.")] = False,
    tick: Unused = None,
    queue_workers: Unused = None,
    connect_gateway_port: Unused = None,
    config: Unused = None,
    persist: UnusedFlag = False,
) -> None:
    """Run a server for development.

    It needs no keys, finds apps by itself, and says what happens. Each flag can be set as STEPWELL_<FLAG> as well
    (STEPWELL_PORT, say), or as INNGEST_<FLAG>.
    """
    unused = {
        "--tick": tick,
        "--queue-workers": queue_workers,
        "--connect-gateway-port": connect_gateway_port,
        "--config": config,
        "--persist": persist or None,
    }
    _say_unused(unused)
    chosen: dict[str, Any] = {
        "is_dev": True,
        "private_fetches": allow_private_fetches,
        "is_discovery_on": not no_discovery,
        "is_polling_on": not no_poll,
        "poll_interval_s": poll_interval,
        "is_demo": demo,
        "is_quiet": quiet,
    }
    if in_memory:
        if db is not None:
            fail("--db and --in-memory exclude each other", status=2)
        chosen["db"] = None
    chosen |= database(
        db, schema=db_schema, is_pooled=db_pooled, listen=db_listen, connections=db_connections, take_over=take_over
    )
    chosen |= retention(keep, keep_functions)
    if grace is not None:
        chosen["grace_s"] = seconds("--grace", grace)
    _run(lambda: _settings(chosen, sdk_url, host, port, retry_interval, calls_per_app, steps_per_run))


def start(
    signing_key: Annotated[str | None, option("--signing-key", metavar="KEY", text="Signs calls to apps.")] = None,
    signing_key_fallback: Annotated[
        str | None, option("--signing-key-fallback", metavar="KEY", text="Accepted, too, while keys are changed.")
    ] = None,
    event_key: Annotated[
        list[str] | None, option("--event-key", metavar="KEY", text="Lets senders of events in; may be repeated.")
    ] = None,
    api_token: Annotated[
        list[str] | None, option("--api-token", metavar="TOKEN", text="Lets users of the API in; may be repeated.")
    ] = None,
    insecure_login: Annotated[
        bool, option("--insecure-login", text="Let people log in over plain http from other machines.")
    ] = False,
    sdk_url: SdkUrls = None,
    host: Host = "127.0.0.1",
    port: Port = 8288,
    db: Db = None,
    db_schema: DbSchema = None,
    db_pooled: DbPooled = False,
    db_listen: DbListen = None,
    db_connections: DbConnections = None,
    take_over: TakeOver = None,
    migrate: Annotated[
        bool, option("--migrate/--no-migrate", text="Migrate the database at start; or refuse one that isn't migrated.")
    ] = True,
    poll_interval: Annotated[
        float, option("--poll-interval", metavar="SECONDS", text="Between two looks at apps; 0 asks each once.")
    ] = 0.0,
    retry_interval: RetryInterval = None,
    calls_per_app: CallsPerApp = None,
    steps_per_run: StepsPerRun = None,
    keep: Retention = None,
    keep_functions: FunctionRetention = None,
    allow_private_fetches: PrivateFetches = None,
    grace: Grace = None,
    tick: Unused = None,
    queue_workers: Unused = None,
    connect_gateway_port: Unused = None,
    no_ui: UnusedFlag = False,
) -> None:
    """Run a server for production.

    Calls are signed both ways, and nothing is answered without a key. Each flag can be set as STEPWELL_<FLAG> as well
    (STEPWELL_SIGNING_KEY, say), or as INNGEST_<FLAG>.
    """
    unused = {
        "--tick": tick,
        "--queue-workers": queue_workers,
        "--connect-gateway-port": connect_gateway_port,
        "--no-ui": no_ui or None,
    }
    _say_unused(unused)
    chosen: dict[str, Any] = {
        "is_dev": False,
        "private_fetches": allow_private_fetches,
        "signing_key": signing_key or None,
        "signing_key_fallback": signing_key_fallback or None,
        "event_keys": tuple(event_key or ()),
        "api_tokens": tuple(api_token or ()),
        "is_login_insecure": insecure_login,
        "is_discovery_on": False,
        "is_polling_on": poll_interval > 0,
        "is_migrating": migrate,
    }
    if poll_interval > 0:
        chosen["poll_interval_s"] = poll_interval
    chosen |= database(
        db, schema=db_schema, is_pooled=db_pooled, listen=db_listen, connections=db_connections, take_over=take_over
    )
    chosen |= retention(keep, keep_functions)
    if grace is not None:
        chosen["grace_s"] = seconds("--grace", grace)
    _run(lambda: _settings(chosen, sdk_url, host, port, retry_interval, calls_per_app, steps_per_run))


def skip(
    duration: Annotated[str, typer.Argument(help="How far, such as 3d or 1h30m.")],
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Move the clock of a dev server ahead; what falls due on the way runs."""
    from stepwell.cli.answers import Moved

    with connect(url, api_token) as api:
        moved = api.post("/api/skip", Moved, {"duration": duration})
    print(f"it is now {moved.now}")


def _settings(
    chosen: dict[str, Any],
    sdk_url: list[str] | None,
    host: str,
    port: int,
    retry_interval: float | None,
    calls_per_app: int | None,
    steps_per_run: int | None,
) -> Settings:
    """Put settings together and check them. Raises ``ConfigError``."""
    from stepwell.server.settings import Settings, checked

    optional = {"calls_per_app_max": calls_per_app, "steps_per_run_max": steps_per_run}
    chosen |= {key: value for key, value in optional.items() if value is not None}
    urls = tuple(url for given in sdk_url or () for url in given.split(",") if url)
    return checked(Settings(sdk_urls=urls, host=host, port=port, retry_interval_s=retry_interval, **chosen))


def _run(make: Callable[[], Settings]) -> None:
    """Run a server. What its user can mend is one line: exit status 2 for settings, 1 for the database."""
    try:
        from stepwell.errors import ConfigError, StoreError
        from stepwell.server.main import run
    except ModuleNotFoundError as error:
        from stepwell.cli.main import missing_extra

        text = missing_extra(error)
        if text is None:
            raise
        fail(text, status=2)
    try:
        status = run(make())
    except ConfigError as error:
        fail(str(error), status=2)
    except StoreError as error:
        fail(str(error))
    raise typer.Exit(status)


def _say_unused(flags: Mapping[str, object]) -> None:
    given = [flag for flag, value in flags.items() if value is not None]
    if given:
        print(f"stepwell: {', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect here", file=sys.stderr)

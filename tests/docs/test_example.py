"""The onboarding example: its demo, run small, and what would make it fail."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from examples.onboarding.account import DIGEST, ON_SIGN_UP, USER_MAILS, RunAccount, World, check
from examples.onboarding.fake_crm import FakeCrm
from examples.onboarding.mail_sink import Mail, MailSink
from examples.onboarding.signups import read_signups

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def demo(folder: Path, *flags: str, pythonpath: Path | None = None) -> Generator[subprocess.Popen[str]]:
    """Start a demo whose temporary files are in ``folder``."""
    environ = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    environ["PYTHONPATH"] = os.pathsep.join(str(path) for path in (ROOT, pythonpath) if path is not None)
    command = [sys.executable, "-m", "examples.onboarding.demo", *flags]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)  # it takes its children with it


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read a demo's output up to a line that holds ``text``."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the demo has ended without saying {text!r}")


def assert_nothing_is_left(folder: Path) -> None:
    """No file of the demo, and no process that has its environment."""
    assert list(folder.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            assert str(folder) not in process.read_text(errors="replace")


def test_the_demo_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, "--signups", "12") as process:
        output, _ = process.communicate()

    assert process.returncode == 0, output
    assert "kill -9 of the server" in output
    assert "✗ not so" not in output
    assert output.count("✓ every user") == 5
    assert_nothing_is_left(tmp_path)


def test_a_demo_that_stays_ends_well_on_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path, "--signups", "2", "--stay") as process:
        read_until(process, "Ctrl-C ends it all")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()

    assert process.returncode == 0, output
    assert_nothing_is_left(tmp_path)


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "kill -9 of the server")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()

    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert_nothing_is_left(tmp_path)


def test_a_demo_whose_app_breaks_shows_its_log(tmp_path: Path) -> None:
    files, broken = tmp_path / "files", tmp_path / "broken"
    files.mkdir()
    broken.mkdir()
    (broken / "fastapi.py").write_text("raise ImportError('as a test wants it')")

    with demo(files, pythonpath=broken) as process:
        output, _ = process.communicate()

    assert process.returncode == 1
    assert "the app ended by itself" in output
    assert "as a test wants it" in output
    assert_nothing_is_left(files)


# -- what is checked at the end: a world in which all is well, and then one thing isn't ------------------------------


def good_world() -> World:
    signups = read_signups(3)
    sink, crm = MailSink(), FakeCrm()
    for signup in signups:
        for kind in USER_MAILS:
            add_mail(sink, kind, signup["email"])
        crm.contacts[f"key-{signup['id']}"] = signup["email"]
    for night in ("25 November", "26 November", "27 November"):
        add_mail(sink, "digest", f"team on {night}")
    minute, three_days = datetime.timedelta(minutes=1), datetime.timedelta(days=3, seconds=2)
    attempts = Counter(completed=2)
    runs = [
        RunAccount(function, "completed", three_days if function == ON_SIGN_UP[-1] else minute, attempts)
        for function in ON_SIGN_UP
        for _ in signups
    ]
    runs += [RunAccount(DIGEST, "completed", minute, attempts)] * 3
    emails, ids = [signup["email"] for signup in signups], [signup["id"] for signup in signups]
    return World(emails=emails, ids=ids, runs=runs, sink=sink, crm=crm, counted=ids, nights=3)


def add_mail(sink: MailSink, kind: str, to: str) -> None:
    message_id = f"<{len(sink.mails)}@acme.example>"
    sink.mails[message_id] = Mail(message_id, kind, to, subject=f"for {to}")


def claims_that_fail(world: World) -> list[str]:
    return [one.claim for one in check(world) if one.problems]


def test_a_world_in_which_all_is_well_passes() -> None:
    assert claims_that_fail(good_world()) == []


def lose_a_mail(world: World) -> World:
    del world.sink.mails["<0@acme.example>"]
    return world


def send_a_mail_twice(world: World) -> World:
    add_mail(world.sink, "day-3", world.emails[0])
    return world


def send_a_mail_to_a_stranger(world: World) -> World:
    add_mail(world.sink, "day-1", "nobody@example.com")
    return world


def make_a_contact_twice(world: World) -> World:
    world.crm.contacts["another key"] = world.emails[0]
    return world


def count_somebody_twice(world: World) -> World:
    return replace(world, counted=[*world.counted, world.ids[0]])


def miss_a_night(world: World) -> World:
    return replace(world, nights=4, runs=[*world.runs, world.runs[-1]])


def fail_a_run(world: World) -> World:
    return replace(world, runs=[replace(world.runs[0], status="failed"), *world.runs[1:]])


def lose_a_run(world: World) -> World:
    return replace(world, runs=world.runs[1:])


def hurry_a_sequence(world: World) -> World:
    runs = [replace(run, duration=datetime.timedelta(days=1)) for run in world.runs if run.function == ON_SIGN_UP[-1]]
    return replace(world, runs=[*(run for run in world.runs if run.function != ON_SIGN_UP[-1]), *runs])


def repeat_a_mail(world: World) -> World:
    world.sink.repeats.append(world.sink.mails["<0@acme.example>"])
    return world


def retry_for_no_reason(world: World) -> World:
    return replace(world, runs=[replace(world.runs[0], outcomes=Counter(retrying=1)), *world.runs[1:]])


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (lose_a_mail, "every user got the welcome mail once"),
        (send_a_mail_twice, "every user got the day-3 mail once"),
        (send_a_mail_to_a_stranger, "every user got the day-1 mail once"),
        (make_a_contact_twice, "every user is in the CRM once"),
        (count_somebody_twice, "every user was counted once"),
        (miss_a_night, "one digest for each of 4 nights"),
        (fail_a_run, "every run has ended well, one for each user and function"),
        (lose_a_run, "every run has ended well, one for each user and function"),
        (hurry_a_sequence, "every sequence took three days by its own clock"),
        (repeat_a_mail, "no step ran twice, but where the crash cut off its answer"),
        (retry_for_no_reason, "no step ran twice, but where the crash cut off its answer"),
    ],
)
def test_one_thing_that_is_wrong_fails_one_claim(spoil: Callable[[World], World], claim: str) -> None:
    assert claims_that_fail(spoil(good_world())) == [claim]


def test_a_mail_that_a_lost_attempt_sent_may_come_again() -> None:
    world = repeat_a_mail(good_world())
    runs = [replace(world.runs[0], outcomes=Counter(completed=2, lost=1)), *world.runs[1:]]

    assert claims_that_fail(replace(world, runs=runs)) == []


# -- the world outside ------------------------------------------------------------------------------------------------


async def test_the_crm_fails_one_time_in_three_and_makes_each_contact_once() -> None:
    crm = FakeCrm()
    await crm.start()
    try:
        async with httpx2.AsyncClient(base_url=crm.url, trust_env=False) as client:
            for signup in read_signups():
                key = {"Idempotency-Key": f"key-{signup['id']}"}
                create = functools.partial(client.post, "/contacts", json={"email": signup["email"]}, headers=key)
                while (await create()).status_code != 201:
                    pass
                await create()
            assert (await client.get("/contacts/count")).json() == {"count": 300}
    finally:
        await crm.stop()

    assert 0.3 < crm.failures / crm.calls.total() < 0.36
    assert 0 < crm.failures_after_write < crm.failures
    assert max(crm.calls.values()) <= 11  # which is how often the function tries

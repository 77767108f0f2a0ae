"""What happens when somebody signs up, in one small FastAPI app.

    user.signedup ─┬─▶ welcome-email        a mail, now
                   ├─▶ sync-to-crm          a contact in a CRM that fails one time in three
                   ├─▶ count-signup         a row for the statistics
                   └─▶ onboarding-sequence  a mail after one day, another after three
    06:00 in Berlin ──▶ nightly-digest      a mail to the team, with the numbers

Nothing here knows of queues, timers or retries. What has an effect stands in a step; a step that is done isn't done again,
whatever crashes. Only a crash in the middle of a step repeats it: what it does then carries ``idempotency_key``, the same in each
attempt, so that the mail server, the CRM and the database know it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
import sqlite3
from collections.abc import AsyncGenerator, Generator
from email.message import EmailMessage
from typing import Literal

import httpx2
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import Route

from stepwell import Event, Step, Stepwell, SyncStep, cron, current_step

CRM_URL = os.environ.get("CRM_URL", "http://127.0.0.1:8025")
SMTP_ADDRESS = os.environ.get("SMTP_ADDRESS", "127.0.0.1:1025")
STATISTICS_DB = os.environ.get("STATISTICS_DB", "statistics.db")
TEAM = "team@acme.example"

sw = Stepwell("acme")


class User(BaseModel):
    """Somebody who has signed up."""

    id: int
    name: str
    email: str
    plan: Literal["free", "team", "business"]


# -- functions: each is started by every sign-up, on its own, with its own retries ----------------------------------


@sw.function("welcome-email", on="user.signedup")
async def welcome_email(event: Event, step: Step) -> None:
    """Welcome a new user."""
    user = User.model_validate(event.data)
    await step.run("send", send_mail, "welcome", user.email, f"Welcome, {user.name}", "Nice to have you with us.")


@sw.function("sync-to-crm", on="user.signedup", retries=10)
async def sync_to_crm(event: Event, step: Step) -> str:
    """Make a contact of a new user. An exception in a step is all it takes to have it tried again, later."""
    return await step.run("create-contact", create_contact, User.model_validate(event.data))


@sw.function("count-signup", on="user.signedup")
def count_signup(event: Event, step: SyncStep) -> None:
    """Count a new user. A plain function: it has a thread of its own, and may block."""
    step.run("insert", insert_signup, User.model_validate(event.data))


@sw.function("onboarding-sequence", on="user.signedup")
async def onboarding_sequence(event: Event, step: Step) -> None:
    """Help a new user along for three days. Nothing runs, and nothing is held, while it sleeps."""
    user = User.model_validate(event.data)
    await step.sleep("until-tomorrow", "1d")
    await step.run("send-day-1", send_mail, "day-1", user.email, f"First steps, {user.name}", "Did you try these?")
    await step.sleep("two-more-days", "2d")
    await step.run("send-day-3", send_mail, "day-3", user.email, f"How is it going, {user.name}?", "We'd love to hear.")


@sw.function("nightly-digest", on=cron("TZ=Europe/Berlin 0 6 * * *"))
async def nightly_digest(event: Event, step: Step) -> None:
    """Tell the team how it is going; two steps at once."""
    plans, contacts = await asyncio.gather(
        step.run("count-signups", count_signups),
        step.run("count-contacts", count_contacts),
    )
    numbers = ", ".join(f"{count} {plan}" for plan, count in plans.items())
    subject = f"{event.time:%d %B}: {sum(plans.values())} sign-ups"
    await step.run("send", send_mail, "digest", TEAM, subject, f"{numbers}. The CRM has {contacts} contacts.")


# -- the web app: it says what happened, and leaves the rest to the functions ---------------------------------------


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Make the statistics table, and close what was opened."""
    with statistics() as db:
        db.execute("create table if not exists signup (idempotency_key text primary key, user_id integer, plan text)")
    yield
    await crm.aclose()
    await sw.aclose()


app = FastAPI(lifespan=lifespan)
app.routes.append(Route("/api/stepwell", sw.asgi()))  # where the server calls the functions


@app.post("/signups", status_code=202)
async def sign_up(user: User) -> dict[str, str]:
    """Take a sign-up. The id makes a form that is sent twice one event."""
    [event_id] = await sw.send("user.signedup", user.model_dump(), id=f"signup-{user.id}")
    return {"event": event_id}


# -- effects: what steps do to the world ----------------------------------------------------------------------------


def send_mail(kind: str, to: str, subject: str, text: str) -> None:
    """Send a mail by SMTP. Mailboxes drop a message whose id they have seen."""
    message = EmailMessage()
    message["Message-ID"] = f"<{current_step().idempotency_key}@acme.example>"
    message["From"], message["To"], message["Subject"] = "hello@acme.example", to, subject
    message["X-Kind"] = kind
    message.set_content(text)
    with smtplib.SMTP(SMTP_ADDRESS, timeout=10) as smtp:
        smtp.send_message(message)


crm = httpx2.AsyncClient(base_url=CRM_URL, timeout=10)


async def create_contact(user: User) -> str:
    """Create a contact, and return its id. For a key that it has seen, the CRM returns the contact that it has."""
    key = {"Idempotency-Key": current_step().idempotency_key}
    response = await crm.post("/contacts", json={"email": user.email, "name": user.name}, headers=key)
    response.raise_for_status()
    return response.json()["id"]


async def count_contacts() -> int:
    """Ask the CRM how many contacts it has."""
    response = await crm.get("/contacts/count")
    response.raise_for_status()
    return response.json()["count"]


@contextlib.contextmanager
def statistics() -> Generator[sqlite3.Connection]:
    """Open the app's own database for one transaction."""
    with contextlib.closing(sqlite3.connect(STATISTICS_DB, timeout=30)) as db, db:
        yield db


def insert_signup(user: User) -> None:
    """Count a user, unless this very step did so before a crash."""
    row = (current_step().idempotency_key, user.id, user.plan)
    with statistics() as db:
        db.execute("insert or ignore into signup values (?, ?, ?)", row)


def count_signups() -> dict[str, int]:
    """Count the users of each plan."""
    with statistics() as db:
        return dict(db.execute("select plan, count(*) from signup group by plan order by plan"))

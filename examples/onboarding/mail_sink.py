"""A mail server for the example: takes every mail by SMTP, and keeps it in memory.

Like some real ones, it delivers a message once: a repeat, known by its Message-ID, is counted and dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True)
class Mail:
    """A mail in a mailbox."""

    message_id: str
    kind: str
    to: str
    subject: str


class MailSink:
    """An SMTP server on a port of its own."""

    def __init__(self) -> None:
        self.mails: dict[str, Mail] = {}
        """What was delivered, by Message-ID."""
        self.repeats: list[Mail] = []
        """What came again, and was dropped."""
        self.delivered: Counter[str] = Counter()
        """How many of each kind."""
        self.watch: Callable[[Mail], None] = lambda _mail: None
        """Called with each mail that is delivered, before its sender is told so."""
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens: ``host:port``."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, loop=loop, hostname="sink"), "127.0.0.1", 0)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Take a mail; called by aiosmtpd."""
        message = message_from_bytes(cast("bytes", envelope.content), policy=default)
        mail = Mail(str(message["Message-ID"]), str(message["X-Kind"]), str(message["To"]), str(message["Subject"]))
        if mail.message_id in self.mails:
            self.repeats.append(mail)
        else:
            self.mails[mail.message_id] = mail
            self.delivered[mail.kind] += 1
            self.watch(mail)
        return "250 OK"

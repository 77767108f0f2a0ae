"""A CRM for the example, and an unreliable one: it answers one create in three with 503.

Half of those have written the contact before they fail, as happens in the world. So it does what payment and CRM APIs do:
a create with an idempotency key that it knows answers with the contact that it has, and makes no second.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from aiohttp import web


class FakeCrm:
    """The CRM's API, on a port of its own."""

    def __init__(self) -> None:
        self.contacts: dict[str, str] = {}
        """The e-mail address of each contact, by idempotency key."""
        self.calls: Counter[str] = Counter()
        """How often each address was to be created."""
        self.failures = 0
        """How many creates were answered with 503."""
        self.failures_after_write = 0
        """How many of them had made the contact."""
        self.repeats = 0
        """How many creates brought the key of a contact that was there."""
        app = web.Application()
        app.add_routes([web.post("/contacts", self._create), web.get("/contacts/count", self._count)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._runner.addresses[0]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen on a free port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _create(self, request: web.Request) -> web.Response:
        email, key = (await request.json())["email"], request.headers["Idempotency-Key"]
        self.calls[email] += 1
        # Chance, but the same in each demo, in whatever order the creates come.
        chance = hashlib.sha256(f"{email} {self.calls[email]}".encode()).digest()
        is_failing, is_writing = chance[0] % 3 == 0, chance[1] % 2 == 0
        if not is_failing or is_writing:
            self.repeats += key in self.contacts
            self.contacts.setdefault(key, email)
        if is_failing:
            self.failures += 1
            self.failures_after_write += is_writing
            return web.json_response({"error": "try again later"}, status=503)
        return web.json_response({"id": f"contact-{key[:8]}"}, status=201)

    async def _count(self, _request: web.Request) -> web.Response:
        return web.json_response({"count": len(self.contacts)})

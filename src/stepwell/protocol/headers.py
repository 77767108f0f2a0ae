"""Names and values of the protocol's HTTP headers (protocol 1.4, 4.2, 4.6)."""

from __future__ import annotations

from typing import Final

SDK: Final = "X-Inngest-SDK"
FRAMEWORK: Final = "X-Inngest-Framework"
ENV: Final = "X-Inngest-Env"
SERVER_KIND: Final = "X-Inngest-Server-Kind"
EXPECTED_SERVER_KIND: Final = "X-Inngest-Expected-Server-Kind"
REQ_VERSION: Final = "X-Inngest-Req-Version"
SDK_HANDLED: Final = "X-Inngest-Sdk-Handled"
SIGNATURE: Final = "X-Inngest-Signature"
SYNC_KIND: Final = "X-Inngest-Sync-Kind"
NO_RETRY: Final = "X-Inngest-No-Retry"
RETRY_AFTER: Final = "Retry-After"
EVENT_ID_SEED: Final = "X-Inngest-Event-Id-Seed"
RUN_ID: Final = "X-Run-ID"
REQUEST_ID: Final = "X-Request-ID"
STEP_ID: Final = "X-Inngest-Step-ID"
STEPWELL: Final = "X-Stepwell-Version"
"""Only our server sends it: with its calls our SDK knows that it takes lines."""
FORCE_STEP_PLAN: Final = "X-Inngest-Force-Step-Plan"

ANSWERED: Final = {
    name.lower(): name for name in (SDK, REQ_VERSION, SDK_HANDLED, SIGNATURE, SYNC_KIND, NO_RETRY, RETRY_AFTER)
}
"""What is read of an app's answers, by its name in lower case: names of headers have no case."""

SERVER_KIND_DEV: Final = "dev"
SERVER_KIND_CLOUD: Final = "cloud"
SYNC_IN_BAND: Final = "in_band"
SYNC_OUT_OF_BAND: Final = "out_of_band"

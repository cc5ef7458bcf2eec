"""The official SDKs of this field, as their vendors document the call, pointed at loopback.

Rules of this module:

- Each takes the base URL through what it offers for that: an argument, or an attribute that is public. No
  function of theirs is replaced.
- Only the timeout is set; retries and pauses are what the vendor delivers.
- Most are not async: they block their process, which has nothing else to do.
- Imported by name, for some of them have no types.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from .settings import NUMBER, TIMEOUT

__all__ = ["infobip", "prelude", "sinch", "telesign", "telnyx", "twilio", "vonage"]

Call = Callable[[], Awaitable[str]]
_PLUS = f"+{NUMBER}"


def _blocking(
    make: Callable[[str], Callable[[], Any]],
) -> Callable[[str], contextlib.AbstractAsyncContextManager[Call]]:
    """Let a blocking SDK be used like the others."""

    @contextlib.asynccontextmanager
    async def made(base_url: str) -> AsyncGenerator[Call, None]:
        send = make(base_url)

        async def call() -> str:
            send()
            return "returned"

        yield call

    return made


@_blocking
def twilio(base_url: str) -> Callable[[], Any]:
    """Twilio Verify: start a verification."""
    http_client = import_module("twilio.http.http_client").TwilioHttpClient(timeout=TIMEOUT)
    client = import_module("twilio.rest").Client("AC" + "0" * 32, "token", http_client=http_client)
    client.verify.base_url = base_url
    service = client.verify.v2.services("VA" + "0" * 32)
    return lambda: service.verifications.create(to=_PLUS, channel="sms")


@_blocking
def vonage(base_url: str) -> Callable[[], Any]:
    """Vonage Verify: start a verification."""
    library = import_module("vonage_http_client")
    options = library.HttpClientOptions(api_host=urlsplit(base_url).netloc, timeout=1)
    http_client = library.HttpClient(library.Auth(api_key="key", api_secret="secret"), options)  # noqa: S106
    verify = import_module("vonage_verify")
    request = verify.VerifyRequest(brand="PIZZA", workflow=[verify.SmsChannel(to=NUMBER)])
    client = verify.Verify(http_client)
    return lambda: client.start_verification(request)


@_blocking
def infobip(base_url: str) -> Callable[[], Any]:
    """Infobip 2FA: send a PIN over SMS."""
    library = import_module("infobip_api_client")
    configuration = library.Configuration(host=base_url, api_key={"APIKeyHeader": "key"})
    api = import_module("infobip_api_client.api.tfa_api").TfaApi(library.ApiClient(configuration))
    models = import_module("infobip_api_client.models")
    request = models.TfaStartAuthenticationRequest(application_id="app", message_id="message", to=NUMBER)
    return lambda: api.send_tfa_pin_code_over_sms(request, _request_timeout=TIMEOUT)


@_blocking
def sinch(base_url: str) -> Callable[[], Any]:
    """Sinch: send an SMS (its SDK has no verification)."""
    client = import_module("sinch").SinchClient(service_plan_id="plan", sms_api_token="token")  # noqa: S106
    client.configuration.connection_timeout = TIMEOUT
    client.configuration.sms_domain_with_service_plan_id = base_url
    client.configuration.sms_region_with_service_plan_id = "eu"
    return lambda: client.sms.batches.send_sms(to=[_PLUS], from_="PIZZA", body="Your code is 123456")


@_blocking
def telesign(base_url: str) -> Callable[[], Any]:
    """Telesign: send an SMS with a one-time passcode."""
    library = import_module("telesign.messaging")
    # The key is base64, as the vendor hands it out.
    client = library.MessagingClient("customer", "a2V5", rest_endpoint=base_url, timeout=TIMEOUT)
    return lambda: client.message(NUMBER, "Your code is 123456", "OTP")


@contextlib.asynccontextmanager
async def telnyx(base_url: str) -> AsyncGenerator[Call, None]:
    """Telnyx Verify: trigger an SMS verification."""
    library = import_module("telnyx")
    async with library.AsyncTelnyx(api_key="key", base_url=base_url, timeout=TIMEOUT) as client:

        async def call() -> str:
            await client.verifications.trigger_sms(phone_number=_PLUS, verify_profile_id="profile")
            return "returned"

        yield call


@contextlib.asynccontextmanager
async def prelude(base_url: str) -> AsyncGenerator[Call, None]:
    """Prelude Verify: create a verification."""
    library = import_module("prelude_python_sdk")
    async with library.AsyncPrelude(api_token="token", base_url=base_url, timeout=TIMEOUT) as client:  # noqa: S106

        async def call() -> str:
            await client.verification.create(target={"type": "phone_number", "value": _PLUS})
            return "returned"

        yield call

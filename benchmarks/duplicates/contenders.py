"""The contenders of the duplicate table: our client, what people write by hand, and the vendors' SDKs.

- Each makes one logical call, as its library's or its vendor's documentation shows it. Its result, or exception, is what the
  caller is told.
- A call of people's ends where they have their answer: the status is checked and the JSON is read, inside the retry where the
  library's way of retrying allows it.
- An SDK takes the base URL by an argument, or an attribute that is public; no function of theirs is replaced. Only the
  timeout is set; retries and pauses are what the vendor delivers. Some have no types.
- Each imports its library only when it is opened, in a process of its own.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from .. import API_KEY, PATH, SENDER, number, payload

TIMEOUT: Final = 0.3
"""Seconds for each step, and so for the answer."""
TRIES: Final = 3
PAUSE: Final = 0.2
"""Seconds between two tries, or with jitter the first bound."""
NUMBER: Final = number(66666111)
_PLUS: Final = f"+{NUMBER}"

Call: TypeAlias = Callable[[], Awaitable[str]]
Calls: TypeAlias = AsyncGenerator[Call, None]
Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[Call]]


@attrs.frozen
class Contender:
    """One way to send: `make` opens it for a base URL, and yields its one call.

    The call returns what its caller is told. Of the distributions in `packages`, the main one is first.
    """

    label: str
    make: Opening
    packages: tuple[str, ...]
    tls: bool = False
    note: str = ""


CONTENDERS: Final[dict[str, Contender]] = {}
"""By name; `tls`: it speaks TLS only."""


def contender(
    name: str, label: str, *packages: str, tls: bool = False, note: str = ""
) -> Callable[[Callable[..., Calls]], Opening]:
    """Add a function that yields one call to `CONTENDERS`, as a context manager."""

    def add(make: Callable[..., Calls]) -> Opening:
        opening = contextlib.asynccontextmanager(make)
        CONTENDERS[name] = Contender(label, opening, packages, tls, note)
        return opening

    return add


def _sdk(
    name: str, label: str, *packages: str, **more: Any
) -> Callable[[Callable[[str], Callable[[], Any]]], None]:
    """Add a function that returns an SDK's call, which may block: its process has nothing else to do."""

    def add(make: Callable[[str], Callable[[], Any]]) -> None:
        async def opened(base_url: str) -> Calls:
            send = make(base_url)

            async def call() -> str:
                sent = send()
                if inspect.isawaitable(sent):
                    await sent
                return "returned"

            yield call

        contender(name, label, *packages, **more)(opened)

    return add


@contender("ours", "**ours, as it comes**", "httptools")
async def _ours(base_url: str, transport: Any = None) -> Calls:
    from gateway360_async import Gateway360Client, RetryPolicy

    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=base_url,
        transport=transport,
        timeout=TIMEOUT,
        retry=RetryPolicy(base_delay=PAUSE),
    ) as client:

        async def call() -> str:
            result = await client.request_pin(NUMBER)
            return result.disposition.value

        yield call


@contender("ours-httpx", "**ours, `HttpxTransport`**", "httpx")
async def _(base_url: str) -> Calls:
    from gateway360_async.transports import HttpxTransport

    async with _ours(base_url, HttpxTransport()) as call:
        yield call


@contender("httpx", "httpx alone", "httpx", note="no retries")
async def _httpx(base_url: str, **settings: Any) -> Calls:
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT, **settings) as client:

        async def post() -> str:
            response = await client.post(base_url + PATH, json=payload(NUMBER))
            response.raise_for_status()
            response.json()
            return "returned"

        yield post


@contender("httpx-loop", "httpx in a loop of three tries", "httpx", note="on `httpx.HTTPError`")
async def _(base_url: str) -> Calls:
    import httpx

    async with _httpx(base_url) as post:

        async def call() -> str:
            for _ in range(TRIES - 1):
                with contextlib.suppress(httpx.HTTPError):
                    return await post()
                await asyncio.sleep(PAUSE)
            return await post()

        yield call


@contender(
    "httpx-stamina", "httpx + stamina", "stamina", "httpx", note="on `httpx.HTTPError`, as in its README"
)
async def _(base_url: str) -> Calls:
    import httpx
    import stamina

    async with _httpx(base_url) as post:
        yield stamina.retry(on=httpx.HTTPError, attempts=TRIES, wait_initial=PAUSE, wait_jitter=0.0)(post)


@contender("httpx-tenacity", "httpx + tenacity", "tenacity", "httpx", note="on any exception, its default")
async def _(base_url: str) -> Calls:
    import tenacity

    async with _httpx(base_url) as post:
        yield tenacity.retry(
            stop=tenacity.stop_after_attempt(TRIES), wait=tenacity.wait_fixed(PAUSE), reraise=True
        )(post)


@contender("httpx-retries", "httpx + httpx-retries", "httpx-retries", "httpx", note="POST allowed")
async def _(base_url: str) -> Calls:
    from httpx_retries import Retry, RetryTransport

    retry = Retry(total=TRIES - 1, backoff_factor=PAUSE, allowed_methods=["GET", "POST"])
    async with _httpx(base_url, transport=RetryTransport(retry=retry)) as post:
        yield post


@contender(
    "aiohttp-retry",
    "aiohttp + aiohttp-retry",
    "aiohttp-retry",
    "aiohttp",
    note="its defaults, which are every method and every 5xx, and no exception",
)
async def _aiohttp_retry(base_url: str, **options: Any) -> Calls:
    import aiohttp
    from aiohttp_retry import ExponentialRetry, RetryClient

    async with RetryClient(
        raise_for_status=True,
        retry_options=ExponentialRetry(attempts=TRIES, start_timeout=PAUSE / 2, **options),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    ) as client:

        async def call() -> str:
            async with client.post(base_url + PATH, json=payload(NUMBER)) as response:
                await response.json()
                return "returned"

        yield call


@contender(
    "aiohttp-retry-on",
    "aiohttp + aiohttp-retry, exceptions named",
    "aiohttp-retry",
    "aiohttp",
    note="`exceptions={ClientError, TimeoutError}`, `statuses={429}`",
)
async def _(base_url: str) -> Calls:
    from aiohttp import ClientError

    async with _aiohttp_retry(base_url, exceptions={ClientError, TimeoutError}, statuses={429}) as call:
        yield call


@_sdk("twilio", "`twilio` (Verify)", "twilio")
def _(base_url: str) -> Callable[[], Any]:
    http_client = import_module("twilio.http.http_client").TwilioHttpClient(timeout=TIMEOUT)
    client = import_module("twilio.rest").Client("AC" + "0" * 32, "token", http_client=http_client)
    client.verify.base_url = base_url
    service = client.verify.v2.services("VA" + "0" * 32)
    return lambda: service.verifications.create(to=_PLUS, channel="sms")


@_sdk(
    "vonage",
    "`vonage` (Verify)",
    "vonage-verify",
    "vonage-http-client",
    tls=True,
    note="TLS only; its timeout takes whole seconds: 1 s",
)
def _(base_url: str) -> Callable[[], Any]:
    library = import_module("vonage_http_client")
    options = library.HttpClientOptions(api_host=urlsplit(base_url).netloc, timeout=1)
    http_client = library.HttpClient(library.Auth(api_key="key", api_secret="secret"), options)  # noqa: S106
    verify = import_module("vonage_verify")
    request = verify.VerifyRequest(brand="PIZZA", workflow=[verify.SmsChannel(to=NUMBER)])
    client = verify.Verify(http_client)
    return lambda: client.start_verification(request)


@_sdk("infobip", "`infobip-api-python-client` (2FA)", "infobip-api-python-client")
def _(base_url: str) -> Callable[[], Any]:
    library = import_module("infobip_api_client")
    configuration = library.Configuration(host=base_url, api_key={"APIKeyHeader": "key"})
    api = import_module("infobip_api_client.api.tfa_api").TfaApi(library.ApiClient(configuration))
    models = import_module("infobip_api_client.models")
    request = models.TfaStartAuthenticationRequest(application_id="app", message_id="message", to=NUMBER)
    return lambda: api.send_tfa_pin_code_over_sms(request, _request_timeout=TIMEOUT)


@_sdk("sinch", "`sinch` (SMS)", "sinch")  # it has no verification
def _(base_url: str) -> Callable[[], Any]:
    client = import_module("sinch").SinchClient(service_plan_id="plan", sms_api_token="token")  # noqa: S106
    client.configuration.connection_timeout = TIMEOUT
    client.configuration.sms_domain_with_service_plan_id = base_url
    client.configuration.sms_region_with_service_plan_id = "eu"
    return lambda: client.sms.batches.send_sms(to=[_PLUS], from_="PIZZA", body="Your code is 123456")


@_sdk("telesign", "`telesign` (SMS)", "telesign")
def _(base_url: str) -> Callable[[], Any]:
    library = import_module("telesign.messaging")
    # The key is base64, as the vendor hands it out.
    client = library.MessagingClient("customer", "a2V5", rest_endpoint=base_url, timeout=TIMEOUT)
    return lambda: client.message(NUMBER, "Your code is 123456", "OTP")


@_sdk("telnyx", "`telnyx` (Verify)", "telnyx")
def _(base_url: str) -> Callable[[], Any]:
    client = import_module("telnyx").AsyncTelnyx(api_key="key", base_url=base_url, timeout=TIMEOUT)
    return lambda: client.verifications.trigger_sms(phone_number=_PLUS, verify_profile_id="profile")


@_sdk("prelude", "`prelude-python-sdk` (Verify)", "prelude-python-sdk")
def _(base_url: str) -> Callable[[], Any]:
    library = import_module("prelude_python_sdk")
    client = library.AsyncPrelude(api_token="token", base_url=base_url, timeout=TIMEOUT)  # noqa: S106
    return lambda: client.verification.create(target={"type": "phone_number", "value": _PLUS})

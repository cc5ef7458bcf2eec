"""Texts as they arrive on the sandbox's phone, and the code of one filled into another page's field."""

from __future__ import annotations

import socket

import pytest
import pytest_asyncio
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway360_async import Gateway360Client, Ok, PinRequest, Verified, autofill_text
from gateway360_async.sandbox._http_server import HttpServer

# The browser, the sandbox and the tests share one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="package")

NUMBER = "34666666111"
TWO_SEGMENTS = (
    "Good Pizza: tu código es {PIN}. Escríbelo en la página para recibir tu pedido. "
    "No lo compartas con nadie, ni con “nosotros”."
)


@pytest_asyncio.fixture(loop_scope="package")
async def client(gateway):
    async with Gateway360Client(gateway.api_key, base_url=gateway.base_url, sender="GOOD PIZZA") as client:
        yield client


def sms(page):
    return page.get_by_role("article", name=f"to {NUMBER}").first


async def said(page):
    return await sms(page).locator(".arrival li").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 390])
async def test_text_of_two_segments_is_shown_as_it_arrives(page, client, gateway, shoot, width):
    await page.set_viewport_size({"width": width, "height": 900})
    request = PinRequest(NUMBER, "GOOD PIZZA", sms_text=TWO_SEGMENTS)
    assert request.sms_segments == 2
    assert isinstance(await client.send(request), Ok)
    several = sms(page).locator(".arrival .several")
    await expect(several).to_have_text("2 segments")
    sentences = ["2 segments", f"UCS-2, {request.sms_units} of 134 units", "not in GSM-7: ó í á “ ”"]
    assert await said(page) == sentences
    assert await several.evaluate("node => getComputedStyle(node).fontWeight") == "600"
    # Nothing sticks out of the page, whatever its width.
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await shoot(page, f"phone-two-segments-{width}.png")


async def test_text_of_one_segment_is_shown_quietly(page, client, gateway):
    await client.request_pin(NUMBER, sms_text="{{PIN}} is your code")
    pin = gateway.last_pin(NUMBER)
    await expect(sms(page).locator(".bubble")).to_have_text(f"{{{pin}}} is your code")
    assert await said(page) == ["1 segment", "GSM-7, 23 of 160 units"]
    await expect(sms(page).locator(".several")).to_have_count(0)


async def test_text_without_javascript_is_shown_the_same(browser, client, gateway):
    await client.request_pin(NUMBER, sms_text=TWO_SEGMENTS)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(gateway.base_url)
    texts = await page.locator(".arrival li").all_inner_texts()
    assert texts == ["2 segments", "UCS-2, 125 of 134 units", "not in GSM-7: ó í á “ ”"]
    await expect(page.locator(".arrival .several")).to_have_text("2 segments")
    await context.close()


# --- The code in another page's field ------------------------------------------------------------------------------

SHOP = """<!doctype html><title>Shop</title>
<form><label>Code <input id="code" autocomplete="one-time-code" inputmode="numeric" maxlength="6"></label></form>
<script>
  navigator.credentials.get({otp: {transport: ["sms"]}})
    .then((otp) => { document.getElementById("code").value = otp.code; })
    .catch((error) => { document.title = error.name; });
</script>"""

# A phone's browser with an SMS, which one without a phone cannot receive: the line is found as Chromium
# finds it (content/browser/sms/sms_parser.cc), and given to the site that it names alone.
PHONE_BROWSER = """(() => {
  let deliver;
  const sms = new Promise((resolve) => { deliver = resolve; });
  window.deliverSms = (text) => deliver(text);
  navigator.credentials.get = async ({otp}) => {
    if (!otp.transport.includes("sms")) throw new DOMException("", "NotSupportedError");
    const [, host, code] = /(?:^|\\s)@([a-zA-Z0-9.-]+) #([^#\\s]+)/.exec(await sms) ?? [];
    if (host !== location.hostname) throw new DOMException("", "NotAllowedError");
    return {type: "otp", code};
  };
})()"""


@pytest_asyncio.fixture(loop_scope="package")
async def shop(context):
    """A page of another application, on localhost, which is a secure context."""

    async def page(request):
        return HTMLResponse(SHOP)

    server = HttpServer(Starlette(routes=[Route("/", page)]), keep_alive=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    page = await context.new_page()
    await page.add_init_script(PHONE_BROWSER)
    await page.goto(f"http://localhost:{listener.getsockname()[1]}/")
    yield page
    await page.close()
    await server.aclose()


async def test_code_of_an_autofill_text_comes_into_the_field(page, shop, client, gateway):
    assert await shop.evaluate("isSecureContext && 'OTPCredential' in window")
    await client.request_pin(NUMBER, sms_text=autofill_text("Your code for Good Pizza:", domain="localhost"))
    await expect(sms(page).locator(".arrival")).to_contain_text("browsers fill it in on localhost")
    arrived = await sms(page).locator(".bubble").text_content()
    await shop.evaluate("text => deliverSms(text)", arrived)
    field = shop.get_by_label("Code")
    await expect(field).to_have_value(gateway.last_pin(NUMBER))
    assert isinstance(await client.verify_pin(NUMBER, await field.input_value()), Verified)


async def test_code_for_another_site_stays_out_of_the_field(page, shop, client):
    await client.request_pin(NUMBER, sms_text=autofill_text("Your code:", domain="example.com"))
    await expect(sms(page).locator(".arrival")).to_contain_text("browsers fill it in on example.com")
    await shop.evaluate("text => deliverSms(text)", await sms(page).locator(".bubble").text_content())
    await expect(shop).to_have_title("NotAllowedError")
    await expect(shop.get_by_label("Code")).to_have_value("")

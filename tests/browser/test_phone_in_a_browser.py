"""The sandbox's phone in a real browser, asked by the real client over real HTTP."""

from __future__ import annotations

import asyncio
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from gateway360_async import (
    ApiError,
    Gateway360Client,
    Ok,
    PinParams,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async.sandbox import Sandbox

# The browser, the sandbox and the tests share one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="package")

NUMBER = "34666666111"
OTHER = "34666666112"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(loop_scope="package")
async def client(gateway):
    once = RetryPolicy(max_attempts=1)
    async with Gateway360Client(
        gateway.api_key, base_url=gateway.base_url, sender="GOOD PIZZA", retry=once
    ) as client:
        yield client


def sms(page, number=NUMBER):
    """The SMS to a number, the newest first."""
    return page.get_by_role("article", name=f"to {number}")


def pin_state(article):
    return article.locator(".state")


async def live(page):
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()


# A headless browser shows every page at once: a page is told that it is out of sight.
SEEN = """(seen) => {
  Object.defineProperty(document, "visibilityState", { configurable: true, value: seen ? "visible" : "hidden" });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


# --- The life of a PIN -----------------------------------------------------------------------------------


async def test_pin_is_shown_copied_verified_and_void(page, context, client, gateway, shoot):
    await live(page)
    await expect(page.get_by_text("No SMS yet")).to_be_visible()
    assert isinstance(await client.request_pin(NUMBER, sms_text="Your PIN is {PIN}. Enjoy!"), Ok)
    pin = gateway.last_pin(NUMBER)
    message = sms(page)
    await expect(message).to_contain_text(f"Your PIN is {pin}. Enjoy!")
    await expect(message.get_by_role("heading")).to_have_text("GOOD PIZZA")
    await expect(pin_state(message)).to_have_text("Valid · 1:00:00")
    await expect(page.get_by_text("No SMS yet")).to_be_hidden()
    await expect(page.locator("#announcer")).to_have_text(
        f"New SMS from GOOD PIZZA to {NUMBER}, PIN {' '.join(pin)}"
    )
    await expect(page).to_have_title("(1) Sandbox phone · gateway360")

    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await message.get_by_role("button", name=f"Copy PIN {pin}").click()
    await expect(message.locator(".copy-text")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == pin

    await message.get_by_text("Verify or report").click()
    field = message.get_by_label("PIN to try")
    await field.fill("nonsense")
    await message.get_by_role("button", name="Verify").click()
    await expect(message.get_by_role("status")).to_have_text("Not verified.")
    await expect(message).to_contain_text("Failed tries: 1 of 3")
    await shoot(page, "phone-verifying.png")
    await field.fill(pin)
    await field.press("Enter")
    await expect(message.get_by_role("status")).to_have_text("Verified.")
    await expect(pin_state(message)).to_have_text("Verified ")
    await expect(message.locator(".pin s")).to_have_text(pin)
    await expect(message.locator(".bubble s")).to_have_text(pin)
    await expect(field).to_be_hidden()
    assert gateway.messages[0].void_reason == "verified"


async def test_pin_is_replaced_by_a_newer_one(page, client, gateway):
    await client.request_pin(NUMBER)
    await client.request_pin(NUMBER)
    newest, replaced = sms(page).nth(0), sms(page).nth(1)
    await expect(pin_state(replaced)).to_have_text("Void: replaced ")
    await expect(replaced.locator(".pin s")).to_have_text(gateway.messages[0].pin)
    await expect(pin_state(newest)).to_contain_text("Valid")
    await expect(newest.locator(".pin s")).to_have_count(0)


async def test_pin_counts_down_and_expires(own_page, client, clock):
    await own_page.clock.install()
    await own_page.reload()
    await client.request_pin(NUMBER, pin_params=PinParams(expires_in=120))
    await expect(pin_state(sms(own_page))).to_contain_text("Valid · ")
    await own_page.clock.pause_at(await own_page.evaluate("Date.now() / 1000") + 60)
    await expect(pin_state(sms(own_page))).to_have_text(re.compile(r"Valid · (0:5\d|1:00)"))
    await own_page.clock.fast_forward(60_000)
    await expect(pin_state(sms(own_page))).to_have_text("Void: expired ")
    clock.advance(120)
    await own_page.reload()
    await expect(pin_state(sms(own_page))).to_have_text("Void: expired ")


async def test_pin_without_end_says_so_and_has_its_tries_used_up(page, client, gateway):
    await client.request_pin(NUMBER, pin_params=PinParams(max_tries=2, expires_in=0))
    await expect(pin_state(sms(page))).to_have_text("Valid · no end")
    for tried in (1, 2):
        gateway.check_pin(NUMBER, "wrong")
        await expect(sms(page)).to_contain_text(f"Failed tries: {tried} of 2")
    await expect(pin_state(sms(page))).to_have_text("Void: tries used up ")


async def test_verify_without_a_pin_asks_for_one(page, client, gateway):
    await client.request_pin(NUMBER)
    await sms(page).get_by_text("Verify or report").click()
    await sms(page).get_by_role("button", name="Verify").click()
    await expect(sms(page).get_by_role("status")).to_have_text("Type the PIN to try.")
    await expect(sms(page).get_by_label("PIN to try")).to_be_focused()
    assert gateway.messages[0].tries == 0


async def test_text_of_a_request_stays_text(page, client):
    await client.request_pin(NUMBER, sender="<b>x</b>", sms_text=f"{SCRIPT} {{PIN}}")
    await expect(sms(page)).to_contain_text(SCRIPT)
    await expect(sms(page).get_by_role("heading")).to_have_text("<b>x</b>")
    assert await page.locator(".messages script, .messages img, .sender b").count() == 0
    await expect(page).to_have_title("(1) Sandbox phone · gateway360")
    row = page.locator("#log details").first
    await row.click()
    await expect(row).to_contain_text(SCRIPT)
    assert await row.locator("script, img").count() == 0


# --- Finding and clearing --------------------------------------------------------------------------------


async def test_inbox_is_searched_and_cleared_and_undone(page, client, gateway):
    for number in (NUMBER, OTHER, "351912345678"):
        await client.request_pin(number)
    await expect(page.get_by_role("article")).to_have_count(3)
    search = page.get_by_role("searchbox", name="Search number, sender, text or PIN")
    await search.fill("+34 666 666")
    await expect(page.get_by_role("article")).to_have_count(2)
    await expect(page.get_by_text("2 SMS found")).to_be_attached()
    await expect(page.locator("#log > li")).to_have_count(3)
    await client.request_pin("351912345678")
    await client.request_pin(OTHER)
    await expect(page.get_by_role("article")).to_have_count(3)
    await search.fill("nobody")
    await expect(page.get_by_text("Nothing found")).to_be_visible()
    await expect(page.get_by_text("Nothing has asked the sandbox for anything yet.")).to_be_hidden()
    await search.fill("")
    await expect(page.get_by_role("article")).to_have_count(5)
    await page.get_by_role("button", name="Clear").click()
    await expect(page.get_by_text("No SMS yet")).to_be_visible()
    await expect(page.get_by_text("Nothing has asked the sandbox for anything yet.")).to_be_visible()
    assert gateway.messages == []
    undo = page.get_by_role("button", name="Undo clear")
    await expect(undo).to_be_focused()
    await undo.click()
    await expect(page.get_by_role("article")).to_have_count(5)
    await expect(page.get_by_role("button", name="Clear", exact=True)).to_be_visible()
    await expect(search).to_be_focused()


async def test_inbox_of_very_many_shows_the_newest(page, client, gateway):
    numbers = [f"3466{index:07}" for index in range(205)]
    await page.evaluate(SEEN, False)  # it draws those that come meanwhile at once
    await client.send_all(numbers[:195])
    await page.evaluate(SEEN, True)
    await expect(page.get_by_role("article")).to_have_count(195)
    await client.send_all(numbers[195:])
    await expect(page.get_by_role("article")).to_have_count(200)
    await expect(page.get_by_text("The newest 200 of 205 are shown: search for the others")).to_be_visible()
    oldest = gateway.messages[0].msisdn
    await page.get_by_role("searchbox").fill(oldest)
    await expect(sms(page, oldest)).to_be_visible()
    await expect(page.get_by_role("article")).to_have_count(1)


# --- The faults ------------------------------------------------------------------------------------------


async def enter(page, label, text, key="Enter"):
    field = page.get_by_label(label)
    await field.fill(text)
    await field.press(key)


async def turn(page, name, on=True):
    switch = page.get_by_role("switch", name=name)
    await switch.set_checked(on)
    await expect(page.get_by_text("1 fault on" if on else "All is well")).to_be_visible()


SWITCHES = [
    ("Lose the answer", TransportFailure, None, "maybe_sent", "Request PIN: ok, and the answer lost"),
    ("429 Too Many Requests", TransportFailure, 429, "not_sent", "429"),
    ("500 Internal Server Error", TransportFailure, 500, "maybe_sent", "turned away, nothing sent"),
    ("Block the key", ApiError, 401, "not_sent", "UNAUTHORIZED"),
]


async def test_switch_makes_requests_fail_until_it_is_off(page, client, gateway):
    for switch, kind, http_status, disposition, outcome in SWITCHES:
        await enter(page, "Retry-After in seconds", "7")
        await turn(page, switch)
        assert gateway.faults.retry_after == 7
        before = len(gateway.messages)
        result = await client.request_pin(NUMBER)
        assert (type(result), result.disposition, result.http_status) == (kind, disposition, http_status)
        await expect(page.locator("#log summary").first).to_contain_text(outcome)
        assert len(gateway.messages) - before == (switch == "Lose the answer")
        await page.get_by_role("button", name="All off").click()
        await expect(page.get_by_text("All is well")).to_be_visible()
        await expect(page.get_by_role("switch", name=switch)).not_to_be_checked()
        assert isinstance(await client.request_pin(NUMBER), Ok)


async def test_balance_is_used_up(page, client, gateway):
    await enter(page, "Balance in SMS", "1")
    await expect(page.get_by_text("All is well")).to_be_visible()
    while gateway.balance != 1:
        await asyncio.sleep(0)
    assert isinstance(await client.request_pin(NUMBER), Ok)
    await page.get_by_label("Latency in seconds").focus()
    await expect(page.get_by_label("Balance in SMS")).to_have_value("0")
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    assert (await client.request_pin(OTHER)).error_id == "NOT_ENOUGH_BALANCE"


async def test_prefix_makes_the_hlr_lookup_fail(page, client, gateway):
    await expect(page.get_by_label("HLR lookup fails for")).to_have_value("34744")
    await enter(page, "HLR lookup fails for", "346")
    while gateway.hlr_fail_prefix != "346":
        await asyncio.sleep(0)
    assert (await client.request_pin(NUMBER)).error_id == "INVALID_NUMBER"


async def test_latency_makes_the_client_give_up(page, client):
    await enter(page, "Latency in seconds", "30", "Tab")
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    assert (await client.request_pin(NUMBER, deadline=1.0)).disposition == "maybe_sent"


WRONG = [
    ("Latency in seconds", "-1", "latency: expected a finite number of seconds, 0 or more"),
    ("Latency in seconds", "soon", "Latency in seconds: type a number."),
    ("Balance in SMS", "1.5", "balance: expected a whole number, 0 or more, or None"),
    ("HLR lookup fails for", " ", "hlr_fail_prefix: expected a string of digits, one or more"),
]


async def test_field_with_a_wrong_value_says_what_is_right(page, trouble, gateway):
    await live(page)
    for label, typed, problem in WRONG:
        field = page.get_by_label(label)
        await field.fill(typed)
        await field.press("Enter")
        await expect(page.get_by_role("alert").filter(has_text=problem)).to_be_visible()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_have_accessible_description(re.compile(re.escape(problem)))
        assert (gateway.latency, gateway.balance, gateway.hlr_fail_prefix) == (0.0, None, "34744")
    # The browser itself logs an answer that is no success.
    trouble[:] = [item for item in trouble if "400 (Bad Request)" not in item]


async def test_field_that_is_being_typed_in_keeps_its_text(page, client, gateway):
    await live(page)
    field = page.get_by_label("Retry-After in seconds")
    await field.fill("7")
    gateway.faults.throttle = True
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    await expect(field).to_have_value("7")
    await field.press("Enter")
    while gateway.faults.retry_after != 7:
        await asyncio.sleep(0)
    await field.fill("8")
    await field.fill("7")  # taken back: no change, and what comes is shown again
    await field.blur()
    gateway.faults.retry_after = 9
    await expect(field).to_have_value("9")


async def test_field_typed_in_before_the_stream_keeps_its_text(page, gateway):
    connect = asyncio.Event()

    async def hold(route):
        await connect.wait()
        await route.continue_()

    await page.route("**/_phone/events*", hold)
    await page.reload()
    field = page.get_by_label("Retry-After in seconds")
    await field.fill("7")
    connect.set()
    await live(page)
    await expect(field).to_have_value("7")
    await field.press("Enter")
    while gateway.faults.retry_after != 7:
        await asyncio.sleep(0)


async def test_field_that_was_refused_keeps_its_text_until_mended(page, trouble, gateway):
    await live(page)
    field = page.get_by_label("Latency in seconds")
    await field.fill("soon")
    await field.press("Tab")
    await expect(field).to_have_attribute("aria-invalid", "true")
    gateway.faults.throttle = True
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    await expect(field).to_have_value("soon")
    await field.fill("0,5")
    await field.press("Tab")
    await expect(field).to_have_value("0.5")
    await expect(field).not_to_have_attribute("aria-invalid", "true")
    assert gateway.latency == 0.5


async def test_changes_are_sent_in_their_order(page, gateway):
    await live(page)
    asked, answer = [], asyncio.Event()

    async def hold(route):
        asked.append(route.request.post_data_json)
        await answer.wait()
        await route.continue_()

    await page.route("**/_phone/switches", hold)
    field, switch = page.get_by_label("Retry-After in seconds"), page.get_by_role("switch", name="429")
    await field.fill("7")
    await field.press("Enter")
    await switch.check()
    await field.fill("8")
    await field.press("Enter")
    gateway.faults.fail = True  # the page hears of this, and it undoes nothing that waits
    await expect(page.get_by_role("switch", name="500")).to_be_checked()
    await expect(switch).to_be_checked()
    await expect(field).to_have_value("8")
    assert asked == [{"retry_after": 7}]
    answer.set()
    await expect(page.get_by_text("2 faults on")).to_be_visible()
    while gateway.faults.retry_after != 8:
        await asyncio.sleep(0)
    assert asked == [{"retry_after": 7}, {"throttle": True}, {"retry_after": 8}]
    await expect(field).to_have_value("8")


async def test_answer_that_comes_late_hides_nothing_newer(page, gateway):
    """The stream tells of a change that was made after the answer was written."""
    await live(page)
    taken, answer = asyncio.Event(), asyncio.Event()

    async def hold(route):
        response = await route.fetch()
        taken.set()
        await answer.wait()
        await route.fulfill(response=response)

    await page.route("**/_phone/switches", hold)
    field = page.get_by_label("Retry-After in seconds")
    await field.fill("7")
    await field.press("Enter")
    await taken.wait()
    gateway.faults.retry_after = 9
    gateway.faults.throttle = True
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    await expect(field).to_have_value("7")  # its own change has no answer yet
    answer.set()
    await expect(field).to_have_value("9")
    await expect(page.get_by_text("1 fault on")).to_be_visible()


async def test_pages_show_the_same_switches(page, open_beside, gateway):
    second = await open_beside(page, gateway.base_url)
    await turn(page, "Block the key")
    await expect(second.get_by_role("switch", name="Block the key")).to_be_checked()


# --- Many pages ------------------------------------------------------------------------------------------


async def streams(gateway, count):
    """Wait until that many pages are connected, and nothing else is asked."""
    while len(gateway._server.server_state.tasks) != count:
        await asyncio.sleep(0.001)


async def test_pages_beyond_a_browsers_connections_all_work(page, open_beside, client, gateway):
    """Six to a host is the most, whichever pages ask: only the page that is seen takes one for good."""
    await live(page)
    pages = [page]
    for _ in range(6):
        await pages[-1].evaluate(SEEN, False)
        await expect(pages[-1].get_by_text("Paused while out of sight")).to_be_visible()
        pages.append(await open_beside(page, gateway.base_url))
        await live(pages[-1])
        await streams(gateway, 1)
    await turn(pages[-1], "Block the key")
    assert gateway.blocked
    await turn(pages[-1], "Block the key", on=False)
    assert not gateway.blocked
    await client.request_pin(NUMBER)
    await expect(sms(pages[-1])).to_be_visible()
    await pages[-1].evaluate(SEEN, False)
    await streams(gateway, 0)
    await expect(sms(page)).to_have_count(0)
    await page.evaluate(SEEN, True)
    await live(page)
    await expect(sms(page)).to_be_visible()
    await turn(page, "Block the key")
    assert gateway.blocked
    await streams(gateway, 1)


async def test_page_in_sight_again_goes_on_where_it_was(page, client, gateway):
    await live(page)
    await client.request_pin(NUMBER)
    await sms(page).get_by_text("Verify or report").click()
    field = sms(page).get_by_label("PIN to try")
    await field.fill("12")
    row = page.locator("#log details").first
    await row.locator("summary").click()
    await page.evaluate(SEEN, False)
    await streams(gateway, 0)
    # Searching does not connect it either, before it is seen.
    await page.get_by_role("searchbox").fill(NUMBER)
    await page.get_by_role("searchbox").press("Enter")
    await client.request_pin(OTHER)
    await client.request_pin(NUMBER)
    await streams(gateway, 0)
    await page.evaluate(SEEN, True)
    await live(page)
    await expect(page.get_by_role("article")).to_have_count(2)
    await expect(pin_state(sms(page).nth(1))).to_have_text("Void: replaced ")
    await expect(sms(page).nth(1).get_by_role("textbox", include_hidden=True)).to_have_value("12")
    assert await page.locator("#log details").evaluate_all("all => all.map((one) => one.open)") == [
        False,
        False,
        True,
    ]


async def test_page_opened_out_of_sight_waits(own_page, gateway):
    hidden = 'Object.defineProperty(document, "visibilityState", { configurable: true, value: "hidden" })'
    await own_page.add_init_script(hidden)
    await own_page.reload()
    await expect(own_page.get_by_text("Paused while out of sight")).to_be_visible()
    await streams(gateway, 0)
    await own_page.evaluate(SEEN, True)
    await live(own_page)


# --- Delivery reports ------------------------------------------------------------------------------------


async def test_report_is_shown_and_posted_by_hand(page, client, gateway, app):
    await client.request_pin(NUMBER, report_url=app)
    message = sms(page)
    await expect(message).to_contain_text("DELIVRD (report: HTTP 204)")
    await message.get_by_text("Verify or report").click()
    await message.get_by_label("Delivery report").select_option("UNDELIV")
    await message.get_by_role("button", name="Send report").click()
    await expect(message.get_by_role("status")).to_have_text("UNDELIV posted: your app answered HTTP 204.")
    await expect(message).to_contain_text("UNDELIV (report: HTTP 204)")
    assert [report.status for report in gateway.messages[0].reports] == ["DELIVRD", "UNDELIV"]


# --- For each user ---------------------------------------------------------------------------------------

FOCUSED = """() => {
  const node = document.activeElement;
  const style = getComputedStyle(node);
  const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return { name: node.ariaLabel ?? node.labels?.[0]?.textContent ?? node.textContent.trim(), marked };
}"""


async def walk(page, steps):
    """Press Tab, and say what has the focus, and whether it can be seen."""
    names = []
    for _ in range(steps):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(FOCUSED)
        assert focused["marked"], focused
        names.append(re.sub(r"\s+", " ", focused["name"]).strip())
    return names


async def test_page_works_with_the_keyboard_alone(page, client, gateway):
    await client.request_pin(NUMBER)
    await expect(sms(page)).to_be_visible()
    pin = gateway.last_pin(NUMBER)
    start = ["Skip to the inbox", "Skip to the faults", "Skip to the requests", "Copy the address"]
    names = await walk(page, 8)
    assert names == [
        *start,
        "Clear",
        "Search number, sender, text or PIN",
        f"Copy PIN {pin}",
        "Verify or report",
    ]
    await page.keyboard.press("Enter")
    assert await walk(page, 1) == ["PIN to try"]
    await page.keyboard.type(pin)
    await page.keyboard.press("Enter")
    await expect(pin_state(sms(page))).to_have_text("Verified ")
    await page.get_by_role("link", name="Skip to the faults").focus()
    await page.keyboard.press("Enter")
    while (await walk(page, 1)) != ["Lose the answer"]:
        pass
    await page.keyboard.press("Space")
    await expect(page.get_by_role("switch", name="Lose the answer")).to_be_checked()
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    assert gateway.faults.lose_answers
    await page.get_by_role("link", name="Skip to the requests").focus()
    await page.keyboard.press("Enter")
    assert "Request PIN: ok" in (await walk(page, 1))[0]
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("POST /api/2fa/request")).to_be_visible()


async def test_update_leaves_the_focus_where_it_is(page, client, gateway):
    await client.request_pin(NUMBER)
    await sms(page).get_by_text("Verify or report").click()
    field = sms(page).get_by_label("PIN to try")
    await field.fill("12")
    await client.request_pin(OTHER)
    await expect(sms(page, OTHER)).to_be_visible()
    await expect(field).to_be_focused()
    await expect(field).to_have_value("12")


NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, summary, pre[tabindex]")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.ariaLabel || node.labels?.length || node.textContent.trim()))
  .map((node) => node.outerHTML)"""

CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return parse(getComputedStyle(document.documentElement).getPropertyValue("background-color"));
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest(":disabled, template")) continue;
    const [one, two] = [luminance(parse(getComputedStyle(node).color)), luminance(ground(node))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${node.className} ${walker.currentNode.data.trim()}`);
  }
  return low;
}"""


async def filled(page, client, gateway, clock, app):
    """A page with one of everything."""
    await client.request_pin(OTHER)
    for _ in range(3):
        gateway.check_pin(OTHER, "wrong")
    await client.request_pin("351912345678", sender="SHOP", pin_params=PinParams(expires_in=60))
    clock.advance(650)
    await client.request_pin("34600111222", sender="BANK", sms_text="{PIN} signs you in. Never share it.")
    gateway.check_pin("34600111222", gateway.last_pin("34600111222"))
    clock.advance(5)
    text = "Your PIN is {PIN}. Enjoy your pizza!"
    await client.request_pin(NUMBER, sms_text=text)
    await client.request_pin("34744123456")
    clock.advance(30)
    gateway.lose_next_answer()
    await client.request_pin(NUMBER, sms_text=text, report_url=app)
    gateway.throttle_next()
    await client.request_pin(OTHER)
    gateway.faults.lose_answers = True
    clock.advance(15)
    await expect(page.locator("#log > li")).to_have_count(7)
    await expect(page.get_by_text("1 fault on")).to_be_visible()
    await expect(page.get_by_text("DELIVRD (report: HTTP 204)")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("article")).to_have_count(5)


async def test_page_is_named_and_has_contrast(page, client, gateway, clock, app, shoot):
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await filled(page, client, gateway, clock, app)
    states = await pin_state(page).all_text_contents()
    assert [text.strip() for text in states] == [
        "Valid · 59:45",
        "Void: replaced",
        "Verified",
        "Void: expired",
        "Void: tries used up",
    ]
    await shoot(page, "phone-light.png")
    for summary in await page.locator("summary").all():
        if await summary.is_visible():
            await summary.click()
    for scheme, white in (("light", True), ("dark", False)):
        await page.emulate_media(color_scheme=scheme)
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(CONTRAST) == []
        ground = await page.evaluate("getComputedStyle(document.querySelector('.screen')).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is white
    for landmark in ("banner", "main", "navigation", "search"):
        await expect(page.get_by_role(landmark)).to_have_count(1)
    for region in ("Messages", "Make it fail", "Requests"):
        await expect(page.get_by_role("region", name=region, exact=True)).to_be_visible()
    await shoot(page, "phone-dark.png")


async def test_page_in_a_narrow_window_does_not_scroll_sideways(page, client, gateway, clock, app, shoot):
    await filled(page, client, gateway, clock, app)
    for width in (768, 320):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.reload()
        await expect(page.get_by_role("article")).to_have_count(5)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await shoot(page, f"phone-{width}.png", full_page=True)


async def test_page_without_javascript_has_the_inbox(browser, client, gateway, shoot):
    await client.request_pin(NUMBER, sms_text=f"{SCRIPT} {{PIN}}")
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(gateway.base_url)
    await expect(page.get_by_text(f"{SCRIPT} {gateway.last_pin(NUMBER)}")).to_be_visible()
    await expect(page.locator("noscript p")).to_contain_text("reload to see newer SMS")
    await expect(page.get_by_role("button")).to_have_count(0)
    await shoot(page, "phone-no-javascript.png")
    await context.close()


# --- When the sandbox goes -------------------------------------------------------------------------------


async def test_page_finds_another_sandbox_on_the_same_port(own_page, client, gateway, trouble):
    """Another one, on the same port: its ids begin again, and nothing is left of the one before."""
    await live(own_page)
    await client.request_pin(NUMBER, pin_params=PinParams(max_tries=5))
    await sms(own_page).get_by_text("Verify or report").click()
    await sms(own_page).get_by_role("button", name="Verify").click()
    await expect(sms(own_page).get_by_role("status")).to_have_text("Type the PIN to try.")
    await sms(own_page).get_by_label("PIN to try").fill("12")
    await own_page.locator("#log summary").click()
    await gateway.aclose()
    await expect(own_page.get_by_text("Not connected, trying again")).to_be_visible()
    await own_page.get_by_role("switch", name="Block the key").click()
    await expect(own_page.get_by_text("The sandbox does not answer. Is it still running?")).to_be_visible()
    await expect(own_page.get_by_role("switch", name="Block the key")).not_to_be_checked()
    port = int(gateway.base_url.rpartition(":")[2])
    async with Sandbox(port=port) as again:
        async with Gateway360Client(again.api_key, base_url=again.base_url, sender="X") as client:
            assert isinstance(await client.request_pin(OTHER), Ok)
        await live(own_page)
        await expect(sms(own_page, OTHER)).to_be_visible()
        await expect(own_page.get_by_role("article")).to_have_count(1)
        await expect(sms(own_page, OTHER).get_by_label("PIN to try")).to_be_hidden()
        await sms(own_page, OTHER).get_by_text("Verify or report").click()
        await expect(sms(own_page, OTHER).get_by_label("PIN to try")).to_have_value("")
        await expect(sms(own_page, OTHER).locator(".outcome")).to_have_text("")
        await expect(own_page.get_by_role("alert").filter(has_text="does not answer")).to_have_count(0)
        await expect(own_page.locator("#log > li")).to_have_count(1)
        await expect(own_page.locator("#log > li")).to_contain_text(OTHER)
        await expect(own_page.locator("#log details[open]")).to_have_count(0)
    trouble[:] = [item for item in trouble if "ERR_CONNECTION_REFUSED" not in item]


async def test_page_tries_again_where_the_browser_gives_up(own_page, trouble):
    """A browser makes a lost stream again by itself, but not one that was answered with an error."""
    refuse = True

    async def answer(route):
        await (route.fulfill(status=503) if refuse else route.continue_())

    await own_page.route("**/_phone/events", answer)
    await own_page.clock.install()
    await own_page.reload()
    await expect(own_page.get_by_text("Not connected, trying again")).to_be_visible()
    refuse = False
    await own_page.clock.fast_forward(2000)
    await live(own_page)
    trouble[:] = [item for item in trouble if "503" not in item]

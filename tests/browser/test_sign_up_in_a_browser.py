"""A person signs up at the site of the recipe for Django, with the sandbox's phone beside it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from support.sites import served

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(120)]


async def test_sign_up_at_a_django_site_shows_one_sms(page, open_beside, gateway, shoot):
    with served(gateway, "django_site.py", "runserver", "--noreload", "127.0.0.1:PORT") as url:
        site = await open_beside(page, f"{url}/sign-up")
        for _ in range(2):  # and clicks again
            await site.goto(f"{url}/sign-up")
            await site.get_by_role("textbox").fill("666 666 111")
            await site.get_by_role("button", name="Send me a PIN").click()
            await expect(site.locator("body")).to_contain_text("type the PIN of the SMS")
            await shoot(site, "django-site.png")
        message = page.get_by_role("article", name="to 34666666111")
        await expect(message).to_contain_text(gateway.last_pin("34666666111"))
        await expect(page.get_by_role("article")).to_have_count(1)
        await shoot(page, "django-phone.png")
        assert [sms.msisdn for sms in gateway.messages] == ["34666666111"]

"""The docs page in a real browser: it shows both parts, needs nobody else, and sends commands."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.flow.conftest import RunningSystem

pytestmark = pytest.mark.timeout(240)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever the page asks of another host fails, and is then seen on the console.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PHONE, DESKTOP = (390, 844), (1280, 900)
PATIENCE_MS = 30_000


class Visit:
    """A page, what it asked for, and what it complained about."""

    def __init__(self, page: Page, system: RunningSystem) -> None:
        self.page = page
        self.system = system
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))

    def open(self) -> None:
        self.page.goto(self.system.env["BASE_URL"] + "/docs")
        expect(self.page.locator("#operations-Commands-useTempKey")).to_be_visible()
        expect(self.page.locator("#topic-partnerEvents")).to_be_visible()

    def authorize(self) -> None:
        """With the demo's credentials, as the page tells."""
        page = self.page
        page.get_by_role("button", name="Authorize").first.click()
        token, key = page.locator(".modal-ux .auth-container").all()
        for form, secret in ((token, "TOKEN"), (key, "API_KEY")):
            form.locator("input").fill(self.system.env[secret])
            form.locator("button.authorize").click()
        page.locator(".modal-ux .btn-done").first.click()

    def assert_undisturbed(self) -> None:
        """No error, no warning, and nothing left the host."""
        base = urlsplit(self.system.env["BASE_URL"])
        assert self.requested
        assert {urlsplit(url).netloc for url in self.requested} == {base.netloc}
        assert self.complaints == []


@pytest.fixture(scope="module")
def browser_program() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture
def browser(browser_program: str, tmp_path: Path) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=browser_program, args=list(ARGUMENTS)
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context
        context.close()


@pytest.fixture
def visit(browser: BrowserContext, running_system: RunningSystem) -> Visit:
    expect.set_options(timeout=PATIENCE_MS)
    page = browser.new_page()
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    return Visit(page, running_system)


def test_one_page_shows_the_http_api_and_the_topics_and_needs_nobody_else(visit: Visit) -> None:
    visit.open()
    page = visit.page
    expect(page).to_have_title("Lockstream: HTTP API and topics")
    for operation in ("Commands-useTempKey", "Reading-showLock", "Reading-listEvents"):
        expect(page.locator(f"#operations-{operation}")).to_be_visible()
    for topic in ("lock-facts", "lock-events", "lock-facts.parked", "registry"):
        expect(page.locator(".channel .address", has_text=topic).first).to_be_visible()
    expect(page.locator("#try-it")).to_be_visible()

    event = page.locator("[data-message=tempKeyUsedEvent]")
    event.locator("summary").click()
    for field in ("source-offset", "aggregateId", "data.usedCount", "actor.kind"):
        expect(event.locator("td:first-child code", has_text=field).first).to_be_visible()
    partner = page.locator("#topic-partnerEvents [data-message=partnerEvent]")
    partner.locator("summary").click()
    expect(partner.get_by_text('object, where type is "TempKeyUsed"')).to_be_visible()
    expect(partner.locator("pre").first).to_contain_text("acme-crm")
    visit.assert_undisturbed()


def test_its_try_it_sends_a_real_command_that_then_stands_in_the_log(visit: Visit) -> None:
    visit.open()
    visit.authorize()
    operation = visit.page.locator("#operations-Commands-useTempKey")
    operation.locator(".opblock-summary").first.click()
    with visit.page.expect_response("**/use-temp-key") as response:
        operation.get_by_role("button", name="Execute").click()
    assert response.value.status == 200
    body = response.value.json()
    shown = operation.locator(".live-responses-table")
    expect(shown.locator(".response .response-col_status")).to_contain_text("200")
    expect(shown).to_contain_text(f'"version": {body["version"]}')
    visit.assert_undisturbed()

    replayed = visit.system.lockstream("replay").splitlines()
    (event,) = [e for e in map(json.loads, replayed) if e["eventId"] == body["event"]["id"]]
    assert (event["lockId"], event["version"]) == (123, body["version"])
    assert event["data"]["tempKeyUuid"] == "example_string"


def test_without_credentials_its_try_it_shows_the_refusal(visit: Visit) -> None:
    visit.open()
    operation = visit.page.locator("#operations-Reading-showLock")
    operation.locator(".opblock-summary").first.click()
    operation.get_by_role("button", name="Execute").click()
    shown = operation.locator(".live-responses-table")
    expect(shown.locator(".response .response-col_status")).to_contain_text("401")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    visit.open()
    page = visit.page
    page.locator("#operations-Commands-useTempKey .opblock-summary").first.click()
    expect(page.locator("#operations-Commands-useTempKey .responses-table").first).to_be_visible()
    for message in page.locator(".message > summary").all():
        message.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    visit.assert_undisturbed()


def test_the_page_may_load_from_its_own_host_only(visit: Visit) -> None:
    response = visit.page.goto(visit.system.env["BASE_URL"] + "/docs")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert visit.page.locator("script:not([src]), style, [onclick], [onload]").count() == 0

"""The FiftyOne App in a real Chromium, as a person uses it: presses, forms, pages of our panel, pictures."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Locator, Page, expect, sync_playwright

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE = 90_000  # milliseconds; a busy machine needs them
URI = "@spam-plugin/spam/"


class AppPage:
    """One window of the App.

    Args:
        page: of the browser.
        pictures: folder that pictures go to.
    """

    def __init__(self, page: Page, pictures: Path) -> None:
        self.page, self._pictures = page, pictures
        self.errors: list[str] = []  # what the browser's console complains of
        self._number = 0
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)

    # --- where things are

    @property
    def form(self) -> Locator:
        """The form that is open."""
        return self.page.locator('[data-cy="operators-prompt-modal"]')

    @property
    def panel(self) -> Locator:
        """Our panel beside the samples."""
        return self.page.locator('[data-cy="panel-content-spam_panel"]').first

    @property
    def sample(self) -> Locator:
        """The sample that is open."""
        return self.page.locator('[data-cy="modal"]')

    # --- what a person does

    def open_dataset(self, name: str, sees: str = '[data-cy="looker"]') -> None:
        """Opens another dataset, with our panel beside its samples if there are any."""
        self.page.goto(f"{self.page.url.split('/datasets/')[0]}/datasets/{name}")
        self.page.wait_for_selector(sees)
        if self.page.locator('[data-cy="looker"]').count():
            self.page.locator('[data-cy="new-panel-btn"]').first.click()
            self.page.get_by_text("SPAM", exact=True).last.click()
            self.panel.wait_for()

    def another_window(self) -> AppPage:
        """What somebody else sees, who opens the same dataset."""
        other = AppPage(self.page.context.new_page(), self._pictures)
        other.page.goto(self.page.url)
        other.panel.wait_for()
        return other

    def split(self) -> None:
        """Turns to our panel at the sample that is open, and puts it beside the sample."""
        self.sample.get_by_text("SPAM", exact=True).click()
        self.sees("Uncertainty by frame", self.sample)
        self.sample.locator('[data-testid="SplitHorizontalIcon"], [title="Split horizontally"]').first.click()

    def cancel(self) -> None:
        """Closes a form without sending it."""
        self.form.get_by_role("button", name="Cancel", exact=True).click()
        expect(self.form).to_have_count(0, timeout=PATIENCE)

    def press_toolbar(self, name: str) -> None:
        """Presses the button of an operator above the samples, and sees its form."""
        self.page.locator(f'[data-item-id="{URI}{name}"]').click()
        self.form.wait_for()

    def press_step(self, label: str) -> None:
        """Presses a button of the panel's first page, and sees a form."""
        self.panel.get_by_role("button", name=label, exact=True).click()
        self.form.wait_for()

    def browse(self, label: str) -> None:
        """Finds an operator in the operator browser."""
        self.page.keyboard.press("`")
        search = '[data-cy="operators-browser-search"] input, input[data-cy="operators-browser-search"]'
        self.page.locator(search).first.fill(label)
        self.page.locator('[data-cy="operators-browser"]').get_by_text(label, exact=True).click()

    def ready(self, button: str) -> Locator:
        """Waits until a form can be sent; its button."""
        found = self.form.get_by_role("button", name=re.compile(f"^{button}$", re.IGNORECASE))
        expect(found).to_be_enabled(timeout=PATIENCE)
        return found

    def confirm(self, button: str) -> None:
        """Presses the button of a form."""
        self.ready(button).click()

    def schedule(self, button: str) -> None:
        """Asks a worker to do it, instead of the App's server."""
        self.form.get_by_role("button", name=re.compile(f"^{button}$", re.IGNORECASE)).locator(
            "xpath=following::button[1]"
        ).click()
        self.page.get_by_role("menuitem").filter(has_text=re.compile("schedule", re.IGNORECASE)).first.click()
        self.ready("Schedule").click()

    def turn_to(self, page: str) -> None:
        """Opens a page of the panel."""
        self.panel.get_by_role("button", name=page, exact=True).click()

    def press_row(self, row: int, action: str) -> None:
        """Presses an action of a row of the table that the panel shows; from 0."""
        line = self.panel.locator("tbody tr").nth(row)
        button = line.get_by_text(action, exact=True)
        if not button.count():  # a narrow table has a menu instead
            line.get_by_role("button").last.click()
            button = self.page.get_by_role("menu").get_by_text(action, exact=True)
        button.first.click()

    def click_at(self, where: Locator) -> None:
        """Moves the mouse to the middle of something, and clicks."""
        box = None
        while box is None:  # what is drawn anew is gone for a moment
            where.wait_for()
            box = where.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(400)  # the chart has to see the mouse first
        self.page.mouse.click(x, y)

    @staticmethod
    def time_of(frame: int, rate: float) -> re.Pattern[str]:
        """What the player shows at a frame, counted from 1."""
        hundredths = round(100 * (frame - 1) / rate)
        return re.compile(rf"0:{hundredths // 100:02d}\.{hundredths % 100:02d} /")

    def close_form(self) -> None:
        """Closes what an operator shows when it is done."""
        self.page.get_by_role("button", name="Done", exact=True).click()
        expect(self.page.locator(".MuiDialog-root")).to_have_count(0, timeout=PATIENCE)

    def close_sample(self) -> None:
        """Closes the sample that is open."""
        for _ in range(PATIENCE // 1000):
            self.page.keyboard.press("Escape")  # the first one may only take the mouse's mark from a chart
            self.page.wait_for_timeout(1000)
            if not self.sample.count():
                return
        expect(self.sample).to_have_count(0)

    # --- what a person sees

    def draws(self, field: str) -> bool:
        """Whether a field is ticked beside the grid."""
        name = self.page.locator(f'[data-cy="sidebar-field-container-{field}"]').first
        return name.locator("xpath=ancestor::*[.//input[@type='checkbox']][1]").locator("input").first.is_checked()

    def colours(self, where: Locator, pool: Sequence[str]) -> set[str]:
        """Those of some colours that cover more than what fields are marked with."""
        pixels = cv2.imdecode(np.frombuffer(where.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        counts = Counter(f"#{r:02x}{g:02x}{b:02x}" for b, g, r in pixels.reshape(-1, 3).tolist())
        return {colour for colour in pool if counts[colour] > 500}

    def sees(self, words: str | re.Pattern[str], where: Locator | None = None) -> None:
        """Waits until something can be read."""
        expect((where or self.page.locator("body")).get_by_text(words).first).to_be_visible(timeout=PATIENCE)

    def picture(self, name: str) -> Path:
        """Takes a picture, numbered in the order of the steps."""
        self._number += 1
        path = self._pictures / f"{self._number:02d}-{name}.png"
        self.page.screenshot(path=path)
        return path


@contextmanager
def browser(url: str, dataset: str, pictures: Path, folder: Path) -> Iterator[AppPage]:
    """A Chromium of its own, with a fresh profile, on one dataset of the App.

    Args:
        url: of the App.
        dataset: that is opened.
        pictures: folder that pictures go to.
        folder: for the profile.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "needs a Chromium: apt-get install chromium"
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder / "profile"), executable_path=chromium, headless=True, args=FLAGS,
            viewport={"width": 1900, "height": 1050},
        )  # fmt: skip
        try:
            context.set_default_timeout(PATIENCE)
            page = context.pages[0]
            inside = ("data:", "blob:", url)
            context.route("**/*", lambda r: r.continue_() if r.request.url.startswith(inside) else r.abort())
            # A fresh profile is shown an advertisement whose backdrop takes all clicks.
            context.add_init_script("localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true')")
            page.goto(f"{url}/datasets/{dataset}")
            page.wait_for_selector('[data-cy="looker"]')
            yield AppPage(page, pictures)
        finally:
            context.close()

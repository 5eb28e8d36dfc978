"""Take the README's picture: a labelled video in the FiftyOne App, tracks coloured by instance.

Starts an App server on a loopback address, opens it in a headless Chromium, and writes what that shows. Needs
playwright (the extra "test") and a Chromium. Run ``spam-plugin demo`` first, then:

    python docs/make_screenshot.py
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

HERE = Path(__file__).resolve().parent
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE = 60_000  # milliseconds; a busy machine needs them


def main() -> None:
    """Parse the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="spam-demo")
    parser.add_argument("--video", default="street-crowd", help="a part of the video's file name")
    parser.add_argument("--field", default="spam_tracks")
    parser.add_argument("--at", type=float, default=0.5, help="where in the video, from 0 to 1")
    parser.add_argument("--out", type=Path, default=HERE / "images" / "app_tracks.png")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    args = parser.parse_args()
    sample_id = prepare(args.dataset, args.video, args.field)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with app_server() as address, browser_page(address, args.chromium) as page:
        open_video(page, f"{address}/datasets/{args.dataset}", sample_id)
        tidy_sidebar(page, args.field)
        show_moment(page, args.at)
        page.screenshot(path=args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size // 1024} KiB)")


def prepare(name: str, video: str, field: str) -> str:
    """Show one field only, coloured by instance, and return the id of the sample to open."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.looking import colour_by_track

    dataset = fo.load_dataset(name)
    colour_by_track(dataset, field)
    for sample_id, path in zip(*dataset.values(["id", "filepath"]), strict=True):
        if video in Path(path).name:
            return sample_id
    sys.exit(f"dataset {name!r} has no video named like {video!r}")


@contextmanager
def app_server() -> Iterator[str]:
    """The address of a fresh server: one that runs already would keep its own state, with other colours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "fiftyone.server.main", "--port", str(port), "--address", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE / 1000
        while not answers(address):
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit("the App server did not start")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Whether the server is up."""
    try:
        with urllib.request.urlopen(f"{address}/fiftyone", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def browser_page(address: str, chromium: str | None) -> Iterator[Page]:
    """An empty page of a browser that talks to the server and to nobody else."""
    profile = tempfile.mkdtemp(prefix="app-screenshot-")
    try:
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                profile, executable_path=chromium, args=FLAGS, viewport={"width": 1500, "height": 900}
            )
            # A new profile is greeted by a popover whose invisible backdrop takes every click.
            context.add_init_script("localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true')")
            page = context.pages[0]
            page.set_default_timeout(PATIENCE)
            local = (address, "data:", "blob:")
            page.route("**/*", lambda r: r.continue_() if r.request.url.startswith(local) else r.abort())
            yield page
            context.close()
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def open_video(page: Page, url: str, sample_id: str) -> None:
    """Open the sample's modal; the first visit of a fresh server only tells it which dataset is meant."""
    for _ in range(3):
        page.goto(url)
        try:
            page.locator('[data-cy="looker"]').first.wait_for(timeout=PATIENCE // 2)
            break
        except PlaywrightTimeout:
            continue
    page.goto(f"{url}?id={sample_id}")
    page.locator('[data-cy="modal"]').wait_for()
    page.locator('[data-cy="modal"] [data-cy="looker-video-play-button"]').first.wait_for(state="attached")
    page.wait_for_timeout(4000)  # until the frames' labels are streamed


def tidy_sidebar(page: Page, field: str) -> None:
    """Fold away what says nothing about tracks, and unfold what filters them."""
    modal = page.locator('[data-cy="modal"]')
    for group in ("other", "primitives", "labels", "metadata", "tags"):  # from below, so that the upper ones stay put
        title = modal.locator(f'[data-cy="sidebar-group-{group}-field"]').first
        title.scroll_into_view_if_needed()
        width = title.bounding_box()["width"]
        title.click(position={"x": width - 12, "y": 14})
        page.wait_for_timeout(300)
    modal.locator(f'[data-cy="sidebar-field-arrow-enabled-frames.{field}"]').first.click()
    page.wait_for_timeout(3000)
    for attribute in ("label", "index"):  # the boxes are named by their tracks, not by their class
        modal.locator(f'[data-cy="shown-attribute-frames.{field}.detections.{attribute}"]').first.click()
        page.wait_for_timeout(500)


def show_moment(page: Page, at: float) -> None:
    """Move the video to where there is something to see, by a click on its timeline."""
    panel = page.locator('[data-cy="panel-content-fo-sample-modal-plugin"]').first.bounding_box()
    page.mouse.click(panel["x"] + at * panel["width"], panel["y"] + panel["height"] - 16)
    page.wait_for_timeout(6000)  # until the frame is decoded and its labels are there
    page.mouse.move(1, 1)


if __name__ == "__main__":
    main()

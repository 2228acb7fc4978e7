"""Takes the picture of the page of `label` for the docs.

    .venv/bin/python tests/labelling/label_screenshot.py docs/figures/label.png FOLDER LABELS

Flow: takes the name of the picture, a folder of photographs, and a table of some of them.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SIZE = {"width": 1100, "height": 760}


def main(out: str, folder: str, labels: str) -> None:
    """Start the page where the table ends, and take the picture of what is asked then."""
    with tempfile.TemporaryDirectory() as scratch:
        table = shutil.copy(labels, Path(scratch, "labels.csv"))
        words = [sys.executable, "-m", "bloodkeras", "label", folder, "--out", str(table)]
        process = subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, text=True)
        try:
            address = process.stdout.readline().split(" ")[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
                page = browser.new_page(viewport=SIZE)
                page.goto(address)
                page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
                page.locator("header p").last.evaluate("line => line.remove()")  # a path of here
                page.screenshot(path=out)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

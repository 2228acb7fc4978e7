"""Takes the README's picture of the demo page.

    .venv/bin/python tests/demo_screenshot.py docs/figures/demo.png CELL.png ...

Photographs of cells go in as a user would drop them.
"""

import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SIZE = {"width": 1280, "height": 860}


def main(out: str, *photographs: str) -> None:
    """Start the page, drop the photographs, and take the picture once they are answered."""
    words = [sys.executable, "-m", "bloodkeras", "demo", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split(" ")[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            page.set_input_files("#photographs input[type=file]", list(photographs))
            page.locator(".tile").nth(len(photographs) - 1).wait_for()
            page.wait_for_timeout(1000)  # the pictures are drawn, the spinner is gone
            page.screenshot(path=out)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

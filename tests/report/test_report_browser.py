"""The report in a real browser: nothing is fetched, nothing complains, nothing sticks out, the page is not blank."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from support.chromium import FLAGS, chromium_page, find_chromium
from support.command_line import dl
from support.runs.finished import toy_recipe, write_logs, write_test

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium on this machine; bash tool/install_chromium.sh installs one"
)

ATTACK = "<script>document.title='pwned';console.error('pwned')</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    recipe = toy_recipe(root, val=6, settings=("expected.mIoU=0.5", "expected.tolerance=0.01", "expected.source=x"))
    write_logs(root / "run", recipe)
    write_test(root / "run", recipe, experiment=ATTACK)
    result = dl("report", root / "run")
    assert result.exit_code == 0, result.output
    return root / "run"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium_page(find_chromium(), tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_looks(page, folder, tmp_path, width, scheme):
    page.look(width, 900, scheme)
    page.messages.clear()
    page.requests.clear()
    page.open(folder / "report.html")
    assert page.messages == []
    assert [url for url in page.requests if not url.startswith("data:")] == [(folder / "report.html").as_uri()]
    assert page.evaluate("document.title").startswith("toy_pspnet50: mIoU 0.")
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert (page.evaluate("document.images.length"), page.evaluate(broken)) == (24, 0)
    # Tables and the heat map may be wider than a phone, but then scroll inside their box.
    sticking_out = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg')
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className)"""
    assert page.evaluate(sticking_out) == []
    charts = page.evaluate(
        "[...document.querySelectorAll('svg.chart, svg.heat')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(charts) == 5
    assert min(charts) > 100
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(246, 247, 249)")
    with Image.open(page.screenshot(tmp_path / "page.png")) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    assert pixels.shape[1] == width
    assert pixels.shape[0] > 2000
    # Not blank: every stretch as high as a screen has text or pictures in it.
    for top in range(0, pixels.shape[0] - 900, 900):
        assert len(np.unique(pixels[top : top + 900])) > 20


def test_hostile_text_is_shown_as_text(page, folder):
    page.open(folder / "report.html")
    assert page.evaluate(f"document.querySelector('#score dd').textContent === {ATTACK!r}")


def test_the_browsers_own_view(folder, tmp_path):
    """The plain command line, as a person would check it: the DOM after loading, and nothing on the console."""
    command = [find_chromium(), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    assert '<section id="confusions">' in done.stdout
    assert "<script" not in done.stdout
    assert "&lt;script&gt;" in done.stdout


def test_a_fault_would_be_noticed(page, folder, tmp_path):
    """The checks above can fail: an outside image, a script and a wide table are seen."""
    html = (folder / "report.html").read_text()
    faults = "<main><img src='x.png'><script>1</script><div style='width:3000px'>wide</div>"
    copy = tmp_path / "faulty.html"
    copy.write_text(html.replace("<main>", faults))
    page.look(1280, 900)
    page.messages.clear()
    page.open(copy)
    assert any("Content Security Policy" in message for message in page.messages)
    assert page.evaluate("document.documentElement.scrollWidth") >= 3000
    shutil.copy(folder / "report.html", copy)
    page.messages.clear()
    page.open(copy)
    assert page.messages == []

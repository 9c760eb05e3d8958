"""The page in a browser: it answers clicks and drags, asks nothing of other machines, and takes names as text."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("bokeh", reason="the extra explore is not installed")

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")
HOSTILE = ("$$<img src=x onerror='window.pwned=1'>$$", "<script>window.pwned=2</script>", r"\(x\) c")
UNEVEN = np.array([[0.5, 0.8, 0.45], [0.2, 0.5, 0.7], [0.55, 0.3, 0.5]])
PATIENCE = 60_000  # ms


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@contextlib.contextmanager
def served(*args):
    """The address of a page that another process serves, and that process."""
    command = [sys.executable, "-m", "dynamics", "explore", "--no-browser", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            line = process.stdout.readline()
            assert "Ctrl-C ends it" in line, line + process.stdout.read()
            yield re.search(r"http://127\.0\.0\.1:\d+/", line).group(), process
        finally:
            process.kill()


def opened(browser, address):
    """A page that has drawn, and what it asked for."""
    page, asked, errors = browser.new_page(viewport={"width": 1440, "height": 1000}), [], []
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, wait_until="commit")
    page.wait_for_selector(".verdict")
    page.wait_for_selector("canvas")
    return page, asked, errors


def told(page):
    return page.locator(".verdict").inner_text(), page.locator("table").inner_text()


def wait_for(page, text):
    page.locator("table", has_text=re.compile(text)).wait_for()


def radius(page):
    return float(re.search(r"spectral radius ([\d.]+)", told(page)[1]).group(1))


def test_a_click_and_a_drag_change_the_verdict(browser):
    with served() as (address, process):
        page, asked, errors = opened(browser, address)
        wait_for(page, r"spectral radius 1\.258306")
        assert told(page)[0] == "oscillating"
        page.locator("select").first.select_option(label="DPO")
        wait_for(page, r"spectral radius 4\.64578")
        page.locator("li", has_text="beta above 0.53334").wait_for()
        handle = page.locator(".noUi-handle:visible").nth(2).bounding_box()  # beta
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 90, y, steps=12)
        page.mouse.up()
        page.locator(".converged").wait_for()
        assert radius(page) < 1
        page.locator("li", has_text="nothing is needed: the fixed point is stable").wait_for()
        # The Python that is shown is of what is shown.
        names = {}
        code = page.locator("pre").inner_text()
        exec(compile(code, "shown", "exec"), names)
        assert names["fate"].verdict[0] == "converged"
        assert names["found"].spectral_radius == pytest.approx(radius(page), abs=1e-6)
        assert len(asked) >= 3
        assert not [url for url in asked if not re.match(rf"(http|ws)://{address[7:-1]}/", url)]
        assert errors == []
        if folder := os.environ.get("EXPLORE_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/explore.png", full_page=True)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "dynamics: the page is closed.\n"
        assert process.wait(30) == 0


def test_names_are_text(browser, tmp_path):
    rows = [
        f'"{a}","{b}",{n}' for a, b, n in zip(HOSTILE * 2, (HOSTILE[1:] + HOSTILE[:1]) * 2, (7, 6, 8) * 2, strict=True)
    ]
    back = [f'"{b}","{a}",3' for a, b in zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], strict=True)]
    file = tmp_path / "votes <b>.csv"
    file.write_text("\n".join(["winner,loser,count", *rows, *back]) + "\n")
    with served(str(file)) as (address, _):
        page, asked, errors = opened(browser, address)
        page.locator("li").first.wait_for()
        # The names are on the page, and none has become markup or fetched a script for mathematics.
        assert "<script>window.pwned=2</script>" in page.locator(".dim").inner_text()
        assert page.evaluate("[window.pwned, typeof MathJax, document.querySelectorAll('img').length]") == [
            None,
            "undefined",
            0,
        ]
        assert not [url for url in asked if "127.0.0.1" not in url.split("/")[2]]
        assert errors == []


def test_other_origins_are_refused():
    with served() as (address, _):
        for origin, refused in ((address[:-1], False), ("http://example.org", True)):
            headers = {"Origin": origin, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
            asking = http.client.HTTPConnection(address[7:-1], timeout=20)
            asking.request("GET", "/ws", headers=headers)
            assert (asking.getresponse().status == 403) is refused
            asking.close()


@pytest.mark.thorough
def test_a_port_that_is_taken_is_said():
    with served() as (address, _):
        port = address.rpartition(":")[2].strip("/")
        command = [sys.executable, "-m", "dynamics", "explore", "--no-browser", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"--port {port} cannot be used" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_file_without_a_server_follows_its_sliders(browser, tmp_path):
    from dynamics.explore import static

    file = tmp_path / "explore.html"
    text = static.html(alphas=(0.0, 0.5), betas=(0.1, 0.3, 0.9))
    file.write_text(text, "utf-8")
    each = len(str(static.state(static.Setting(UNEVEN, static.NAMES)))) * 1.2
    more = len(static.MATRICES) * len(static.OBJECTIVES) * (len(static.ALPHAS) * len(static.BETAS) - 6)
    assert len(text.encode()) + more * each < 3e6
    page, asked, errors = opened(browser, file.as_uri())
    before = told(page)
    assert "spectral radius" in before[1]
    handle = page.locator(".noUi-handle:visible").nth(1)
    handle.focus()
    page.keyboard.press("ArrowRight")
    setting = static.Setting(next(iter(static.MATRICES.values())), static.NAMES, alpha=0.5, beta=0.9)
    expected = static.view(setting)
    wait_for(page, f"spectral radius {expected.radius:.6f}".replace(".", r"\."))
    assert told(page)[0] == expected.verdict
    assert "0.5, 1.0, 0.9" in page.locator("pre").inner_text()
    assert asked == [file.as_uri()]
    assert errors == []


def test_the_static_command_refuses_in_one_sentence(capsys, tmp_path):
    from dynamics.explore import static

    assert static.main([]) == 2
    assert static.main(["--help"]) == 2
    assert "usage" in capsys.readouterr().err

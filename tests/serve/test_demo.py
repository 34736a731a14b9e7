"""The demo page: its tabs, its command, and the page itself in a headless Chromium."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import electra
from electra.serve import demo
from tests.serve.models import write_finetuned, write_pretrained
from tests.shared import ROOT

TASKS = ("topic", "chunk", "ask", "nli")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SECONDS = 120  # that anything may take


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A pre-trained model, and a fine-tuned one."""
    pretrained = write_pretrained(tmp_path_factory.mktemp("pretrained"))
    finetuned = write_finetuned(tmp_path_factory.mktemp("finetuned"), names=TASKS)
    return [str(pretrained), str(finetuned)]


def test_tabs_are_for_what_the_models_can_do(folders):
    models = {folder: electra.load(folder, precision="float32") for folder in folders}
    choices = demo.find_choices(models)
    assert {kind: [(c.name, c.task) for c in found] for kind, found in choices.items()} == {
        "detect": [("m", None)],
        "fill_mask": [("m", None)],
        "label": [("f: topic", "topic"), ("f: nli", "nli")],
        "tag": [("f: chunk", "chunk")],
        "answer": [("f: ask", "ask")],
        "zero_shot": [("f: nli", "nli")],
    }
    one = demo.find_choices({folders[0]: models[folders[0]]})
    assert [kind for kind, found in one.items() if found] == ["detect", "fill_mask"]


def test_two_folders_of_one_name_are_told_apart(folders):
    model = electra.load(folders[0], precision="float32")
    found = demo.find_choices({"a/m": model, "b/m/": model})
    assert [choice.name for choice in found["detect"]] == ["a/m", "b/m/"]


def test_models_without_anything_to_show_are_refused():
    with pytest.raises(ValueError, match="has nothing to show"):
        demo.build_page(None, {}, "w5")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=re.escape("pip install -e '.[demo]'")):
        demo.import_gradio()


# ---- the page in a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(folders):
    """(address, process) of the command."""
    pytest.importorskip("gradio", reason="the extra `demo` is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "electra.serve.demo", "--port", str(port), "--text", "w5 w6"]
    process = subprocess.Popen(
        [*command, *(f"--model_dir={folder}" for folder in folders)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "shows the page" in line:
            break
    else:
        pytest.fail("".join(printed))
    yield f"http://127.0.0.1:{port}", process
    process.kill()
    process.wait()


@pytest.fixture
def page(server):
    """The page, opened; what it asked for and what went wrong in it are checked at the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.goto(server[0])
        page.locator("#shown .word").first.wait_for()
        yield page
        browser.close()
    elsewhere = [url for url in asked if not url.startswith((server[0], "data:", "blob:"))]
    assert (elsewhere, errors) == ([], [])


def see(page, pattern):
    """Waits for a text of the tab that is shown."""
    page.get_by_text(re.compile(pattern)).locator("visible=true").first.wait_for()


@pytest.mark.browser
def test_a_word_is_swapped_by_a_click_and_by_typing(page):
    words = page.locator("#shown button.word")
    assert words.all_inner_texts() == ["w5", "w6"]
    words.nth(1).click()
    guesses = page.locator("#guesses .guess")
    guess = guesses.first.inner_text()
    guesses.first.click()
    see(page, f"“w6” scored .* “{re.escape(guess)}” scores")
    assert page.get_by_label("Sentence").first.input_value() == f"w5 {guess}"
    page.get_by_label("In place of").fill("w9 w10")
    page.get_by_role("button", name="Swap").click()
    see(page, "“w9 w10” scores")
    assert words.all_inner_texts() == ["w5", "w9", "w10"]
    score = page.locator("#shown .token").first
    assert 0 < float(score.get_attribute("data-score")) < 1


@pytest.mark.browser
def test_hostile_text_is_text_and_errors_are_messages(page):
    sentence = page.get_by_label("Sentence").first
    sentence.fill("<img src=x onerror=alert(1)> {{w5}} ${w6}")
    page.get_by_role("button", name="Score").click()
    page.locator("#shown button.word").nth(8).wait_for()
    assert page.locator("#shown img").count() == 0
    sentence.fill(" ")
    page.get_by_role("button", name="Score").click()
    see(page, "has no tokens")
    sentence.fill("w7")
    page.get_by_role("button", name="Score").click()
    page.get_by_role("alert").wait_for(state="hidden")
    words = page.locator("#shown button.word")
    assert words.all_inner_texts() == ["w7"]
    words.first.click()
    page.get_by_label("In place of").fill("<img/src=x/onerror=alert(1)>")
    page.get_by_role("button", name="Swap").click()
    see(page, "“<img/src=x/onerror=alert.1.>” scores")
    assert page.locator("img").count() == 0


@pytest.mark.browser
def test_every_tab_answers(page):
    def open_(tab):
        page.get_by_role("tab", name=tab).click()

    def press(name):
        page.get_by_role("button", name=name).locator("visible=true").click()

    open_("Masked words")
    press("Guess")
    see(page, r"Guesses for \[MASK\]")
    open_("Classification")
    press("Classify")
    page.locator(".row.best").locator("visible=true").wait_for()
    open_("Tagging")
    press("Tag")
    page.locator(".sentence").locator("visible=true").wait_for()
    open_("Questions")
    press("Answer")
    see(page, "A field is empty")
    page.get_by_label("Question", exact=True).fill("w5")
    page.get_by_label("Text that holds the answer").fill("w6 w7")
    press("Answer")
    see(page, "The best spans")
    open_("Zero-shot")
    page.get_by_label("Labels, with commas between").fill("w8, w9")
    press("Classify")
    page.locator(".row.best").locator("visible=true").wait_for()
    page.get_by_label("Hypothesis").fill("no place")
    press("Classify")
    see(page, "no place")


@pytest.mark.browser
def test_ctrl_c_ends_it_soon_while_a_page_is_open(page, server):
    _, process = server
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert process.wait(timeout=SECONDS) == 130
    assert time.monotonic() - started < 30  # on a busy machine; a second on an idle one
    assert "Interrupted" in process.stdout.read()

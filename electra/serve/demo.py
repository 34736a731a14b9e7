"""A page in the browser that shows what trained models do with a text.

    python -m electra.serve.demo --model_dir D/models/M --model_dir D/models/M/finetuning_models/T

It has a tab for each thing that the given models can do. Enters: folders or checkpoints. Leaves: a
page on this machine, http://127.0.0.1:7860; it loads nothing from elsewhere. Needs gradio, which
the extra `demo` installs.
"""

import functools
import gc
import logging
import os
import threading
from typing import Any, NamedTuple

from absl import flags

from electra.example_text import example_of
from electra.finetune.families import QA, TAGGING
from electra.serve import demo_html as views
from electra.serve.inputs import HYPOTHESIS, MASK
from electra.serve.model import load

# A click on what has a value tells that value.
_ON_CLICK = """element.addEventListener('click', event => {
  const clicked = event.target.closest('[data-value]');
  if (clicked) trigger('select', {value: clicked.dataset.value});
});"""


class Choice(NamedTuple):
    """A model, or a task of one, that a tab offers."""

    name: str
    model: Any
    task: str | None = None


def find_choices(models: dict[str, Any]) -> dict[str, list[Choice]]:
    """Finds what models can do.

    Args:
        models: dict folder -> what electra.load returns.
    Returns: dict with "detect", "fill_mask", "label", "tag", "answer", "zero_shot" -> list of
        Choice, maybe empty.
    """
    kinds = ("detect", "fill_mask", "label", "tag", "answer", "zero_shot")
    choices: dict[str, list[Choice]] = {kind: [] for kind in kinds}
    for name, model in zip(_short_names(list(models)), models.values(), strict=True):
        for kind in ("detect", "fill_mask"):
            if _answers(getattr(model, kind), []):
                choices[kind].append(Choice(name, model))
        for task in model.tasks.values():
            label = name if len(model.tasks) == 1 else f"{name}: {task.name}"
            choice = Choice(label, model, task.name)
            choices[{TAGGING: "tag", QA: "answer"}.get(task.family, "label")].append(choice)
            if _answers(model.zero_shot, [], ["any"], task=task.name):
                choices["zero_shot"].append(choice)
    return choices


def _answers(method, *arguments, **options):
    """Whether a model has what a method needs."""
    try:
        method(*arguments, **options)
    except ValueError:
        return False
    return True


def _short_names(paths: list[str]) -> list[str]:
    """Returns the last part of each path, or the whole where two would be equal."""
    last = [os.path.basename(os.path.normpath(path)) for path in paths]
    return [n if last.count(n) == 1 else path for n, path in zip(last, paths, strict=True)]


# ---- the page -----------------------------------------------------------------------------------


def build_page(gradio: Any, models: dict[str, Any], text: str) -> Any:
    """Builds the page.

    Args:
        gradio: the library.
        models: as in find_choices.
        text: what the page starts with.
    Returns: gradio.Blocks.
    Raises:
        ValueError: the models can do nothing that the page shows.
    """
    choices = find_choices(models)
    tabs = {
        "detect": ("Replaced tokens", _add_detect),
        "fill_mask": ("Masked words", _add_fill_mask),
        "label": ("Classification", _add_label),
        "tag": ("Tagging", _add_tag),
        "answer": ("Questions", _add_answer),
        "zero_shot": ("Zero-shot", _add_zero_shot),
    }
    if not any(choices.values()):
        raise ValueError(
            f"{', '.join(models)}: an encoder without heads has nothing to show. Expected: a "
            "pre-trained model or a trial of a fine-tuned one"
        )
    with gradio.Blocks(analytics_enabled=False, title="ELECTRA") as page:
        names = ", ".join(_short_names(list(models)))
        gradio.HTML(f"<h1>ELECTRA</h1>{views.escape(names)}", padding=False)
        for kind, (title, add) in tabs.items():
            if choices[kind]:
                with gradio.Tab(title):
                    add(gradio, choices[kind], text)
    return page


def _add_detect(gradio, choices, text):
    """The words shaded by their scores; a click on one shows guesses, which a click puts there."""
    box, find = _add_choice(gradio, choices)

    def score_text(name, text):
        return views.show_sentence(views.score_words(find(name).model, text))

    sentence = gradio.Textbox(text, label="Sentence", lines=2)
    score = gradio.Button("Score", variant="primary", elem_classes="action")
    problem = gradio.HTML(visible=False)
    first = views.attempt(score_text, choices[0].name, text)
    shown = gradio.HTML(first, js_on_load=_ON_CLICK, elem_id="shown")
    state = gradio.State({"text": text})  # what is shown, and where its chosen word is
    with gradio.Row(visible=False) as row:
        word = gradio.Textbox(scale=4, elem_id="replacement")
        swap = gradio.Button("Swap", scale=1, elem_classes="action")
    guesses = gradio.HTML(js_on_load=_ON_CLICK, elem_id="guesses")

    def on_score(name, text):
        return score_text(name, text), "", {"text": text}, gradio.update(visible=False)

    def on_choose(name, state, event: gradio.EventData):
        model, text = find(name).model, state["text"]
        words = views.score_words(model, text)
        start, end, _ = words[int(event.value)]
        found = views.attempt(views.show_guesses, model, text, start, end)
        state = {"text": text, "start": start, "end": end}
        label = gradio.update(value="", label=_in_place_of(text[start:end]))
        return views.show_sentence(words, start), found, state, gradio.update(visible=True), label

    def on_swap(name, state, word):
        text, shown = views.swap_word(find(name).model, **state, replacement=word)
        word = word.strip()
        state = {**state, "text": text, "end": state["start"] + len(word)}
        return shown, text, state, gradio.update(value="", label=_in_place_of(word))

    def on_guess(name, state, event: gradio.EventData):
        return on_swap(name, state, event.value.removeprefix("##"))

    on = functools.partial(_on, gradio, problem)
    results, swapped = [shown, guesses, state, row], [shown, sentence, state, word]
    on([score.click, sentence.submit], on_score, [box, sentence], results)
    on([shown.select], on_choose, [box, state], [*results, word])
    on([swap.click, word.submit], on_swap, [box, state, word], swapped)
    on([guesses.select], on_guess, [box, state], swapped)


def _in_place_of(word):
    return f"In place of “{word}”"


def _add_fill_mask(gradio, choices, text):
    """The guesses for each [MASK]."""
    box, find = _add_choice(gradio, choices)
    first = text.split()
    masked = " ".join([*first[:1], MASK, *first[2:]])
    sentence = gradio.Textbox(masked, label=f"Text with {MASK}", lines=2)
    _add_answering(
        gradio,
        "Guess",
        lambda name, text: views.show_masks(find(name).model, text),
        [box, sentence],
    )


def _add_label(gradio, choices, text):
    """Labels of a text or of a pair."""
    box, find = _add_choice(gradio, choices)

    def show(name, text, second):
        return views.show_label(*find(name)[1:], text, second if is_pair(name) else "")

    def is_pair(name):
        _, model, task = find(name)
        return model.tasks[task].has_pairs

    first = gradio.Textbox(text, label="Text", lines=2)
    second = gradio.Textbox(label="Second text", visible=is_pair(choices[0].name))
    box.change(lambda name: gradio.update(visible=is_pair(name)), box, second)
    _add_answering(gradio, "Classify", show, [box, first, second])


def _add_tag(gradio, choices, text):
    """Words and their tags."""
    box, find = _add_choice(gradio, choices)
    sentence = gradio.Textbox(text, label="Sentence", lines=2)
    _add_answering(
        gradio, "Tag", lambda name, text: views.show_tags(*find(name)[1:], text), [box, sentence]
    )


def _add_answer(gradio, choices, text):
    """An answer found in a text."""
    box, find = _add_choice(gradio, choices)
    question = gradio.Textbox(label="Question")
    context = gradio.Textbox(label="Text that holds the answer", lines=6)

    def show(name, question, context):
        return views.show_answer(*find(name)[1:], question, context)

    _add_answering(gradio, "Answer", show, [box, question, context])


def _add_zero_shot(gradio, choices, text):
    """Labels of one's own, none of them trained."""
    box, find = _add_choice(gradio, choices)
    sentence = gradio.Textbox(text, label="Text", lines=2)
    labels = gradio.Textbox(label="Labels, with commas between")
    template = gradio.Textbox(HYPOTHESIS, label="Hypothesis, {} for the label")
    multi_label = gradio.Checkbox(label="Several labels may fit")

    def show(name, *values):
        return views.show_zero_shot(*find(name)[1:], *values)

    _add_answering(gradio, "Classify", show, [box, sentence, labels, template, multi_label])


def _add_choice(gradio, choices):
    """Adds a list of what to choose from, hidden where there is one only.

    Returns: (the component, function name -> Choice).
    """
    by_name = {choice.name: choice for choice in choices}
    names = list(by_name)
    box = gradio.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)
    return box, by_name.__getitem__


def _add_answering(gradio, label, show, inputs):
    """Adds a button that shows what `show` makes of the inputs, and where it is shown."""
    button = gradio.Button(label, variant="primary", elem_classes="action")
    shown = gradio.HTML()
    submits = [box.submit for box in inputs if isinstance(box, gradio.Textbox) and box.lines == 1]
    _on(gradio, shown, [button.click, *submits], lambda *values: (show(*values),), inputs, [shown])


def _on(gradio, problem, events, function, inputs, outputs):
    """Runs `function` at events, one call after the other; a ValueError is shown in `problem`."""

    @functools.wraps(function)  # gradio reads the types of its arguments
    def guarded(*values):
        try:
            results = dict(zip(outputs, function(*values), strict=True))
            return {problem: gradio.update(visible=False), **results}
        except ValueError as error:
            return {problem: gradio.update(value=views.message(str(error)), visible=True)}

    outputs_ = list(dict.fromkeys([problem, *outputs]))
    gradio.on(events, guarded, inputs, outputs_, concurrency_limit=1, concurrency_id="model")


# ---- the command --------------------------------------------------------------------------------


def import_gradio():
    """Imports gradio so that it asks nobody for news.

    Raises:
        ValueError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    logging.getLogger("httpx").setLevel("WARNING")  # gradio calls itself once
    try:
        import gradio
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError(
            "The demo page needs gradio. Install it: pip install -e '.[demo]'"
        ) from None
    return gradio


def serve(gradio, page, host, port):
    """Serves the page until the process is told to stop (KeyboardInterrupt)."""
    look = {"primary_hue": "blue", "font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        show_error=True,
        ssr_mode=False,
        footer_links=[],
        theme=gradio.themes.Default(**look),
        css=views.CSS,
    )
    print(f"http://{host}:{port} shows the page. Ctrl-C ends it.", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
        gc.freeze()  # looking for garbage takes Python seconds at its end


def _define_flags():
    about = "Folder of a run, or a checkpoint; may be given several times."
    flags.DEFINE_multi_string("model_dir", None, about, required=True)
    flags.DEFINE_string("text", None, "What the page starts with.")
    flags.DEFINE_integer("port", 7860, "Where the page is served.", 1, 65535)
    about = "Address to listen on; 0.0.0.0 lets other machines in."
    flags.DEFINE_string("host", "127.0.0.1", about)


def main(_):
    """Serves the page of the models."""
    values = flags.FLAGS
    gradio = import_gradio()
    models = {path: load(path) for path in values.model_dir}
    text = values.text or example_of(models[values.model_dir[0]].vocab.tokens).text
    serve(gradio, build_page(gradio, models, text), values.host, values.port)


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)

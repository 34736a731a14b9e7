"""The commands that answer texts: what they write, in each format, and what they refuse."""

import csv
import dataclasses
import gzip
import html.parser
import io
import json
import os
import subprocess
import sys

import pytest

import electra
from electra.finetune.tasks import Source
from electra.serve import rows as rows_module
from tests.serve import commands
from tests.serve.models import write_finetuned, write_pretrained
from tests.shared import ROOT


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return electra.load(write_pretrained(tmp_path_factory.mktemp("p")), precision="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    names = ("topic", "grade", "chunk", "ask", "many", "word", "nli")
    return write_finetuned(tmp_path_factory.mktemp("f"), names=names)


@pytest.fixture(scope="module")
def finetuned(folder):
    return electra.load(folder, precision="float32")


@pytest.fixture
def answered(monkeypatch, capsys):
    """Function that runs a command; returns what it prints."""

    def run(name, model, **flags):
        commands.run(monkeypatch, name, model, **flags)
        return capsys.readouterr().out

    return run


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def close(answer):
    """Answers of other batches differ in their last digits."""
    if isinstance(answer, dict):
        return {key: close(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [close(value) for value in answer]
    return pytest.approx(answer, abs=1e-4) if isinstance(answer, float) else answer


class Page(html.parser.HTMLParser):
    """The words of a page, and the elements that are open at its end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.articles = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.articles += tag == "article"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data.split()


# ---- every use ----------------------------------------------------------------------------------


def test_detect_gives_every_token_its_score(answered, pretrained):
    printed = answered("detect", pretrained, text=["w5 w6", "w7"], output_format="jsonl")
    (first, _), expected = records(printed), pretrained.detect(["w5 w6", "w7"])[0]
    assert first == {
        "id": "0",
        "text": "w5 w6",
        "tokens": ["w5", "w6"],
        "scores": close([score for _, score in expected]),
    }


def test_fill_mask_gives_the_guesses_of_each_mask(answered, pretrained):
    text = "[MASK] w5 [MASK]"
    (found,) = json.loads(
        answered("fill_mask", pretrained, text=[text], top_k=2, output_format="json")
    )
    expected = [
        [{"token": token, "probability": close(p)} for token, p in guesses]
        for guesses in pretrained.fill_mask(text, 2)
    ]
    assert found == {"id": "0", "text": text, "masks": expected}


TEXT = ["text", "w5 w6", "w7"]
PAIR = ["sentence_a\tsentence_b", "w5\tw6", "w7\tw8"]
FORMS = {
    "topic": (TEXT, {}, ["w5 w6", "w7"]),
    "grade": (TEXT, {}, ["w5 w6", "w7"]),
    "many": (TEXT, {}, ["w5 w6", "w7"]),
    "chunk": (TEXT, {}, ["w5 w6", "w7"]),
    "word": (TEXT, {}, ["w5 w6", "w7"]),
    "nli": (
        PAIR,
        {"text_column": "sentence_a", "text_b_column": "sentence_b"},
        [("w5", "w6"), ("w7", "w8")],
    ),
    "ask": (["question\tcontext", "w5\tw6 w7", "w8\tw9"], {}, [("w5", "w6 w7"), ("w8", "w9")]),
}


@pytest.mark.parametrize("task", FORMS)
def test_every_family_is_predicted_as_by_the_method(answered, finetuned, tmp_path, task):
    lines, flags, rows = FORMS[task]
    path = tmp_path / "new.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    given = {"task": task, "input": str(path), **flags}
    found = records(answered("predict", finetuned, output_format="jsonl", **given))
    for record, expected in zip(found, finetuned.predict(rows, task), strict=True):
        assert {name: record[name] for name in expected} == close(expected)
    page = Page(answered("predict", finetuned, output_format="html", **given))
    assert page.articles == 2 and page.open == [] and "w5" in page.words
    assert "w5" in answered("predict", finetuned, **given)
    table = list(
        csv.reader(io.StringIO(answered("predict", finetuned, **given, output_format="csv")))
    )
    assert table[0][: len(lines[0].split("\t"))] == lines[0].split("\t")
    assert [row[0] for row in table[1:]] == [line.split("\t")[0] for line in lines[1:]]


def test_zero_shot_gives_the_labels_best_first(answered, finetuned):
    flags = {"task": "nli", "labels": ["w10", "w11 w12"]}
    given = {"text": ["w5 w6", "w7"], **flags, "output_format": "jsonl"}
    expected = finetuned.zero_shot(["w5 w6", "w7"], hypothesis_template="w9 {}", **flags)
    for record, answer in zip(
        records(answered("zero_shot", finetuned, **given)), expected, strict=True
    ):
        assert {name: record[name] for name in answer} == close(answer)
    given |= {"multi_label": True, "output_format": "tsv"}
    header, row, _ = answered("zero_shot", finetuned, **given).splitlines()
    assert header.startswith("id\ttext\tprediction\tprobability_")
    assert row.startswith("0\tw5 w6\t")


# ---- formats ------------------------------------------------------------------------------------


def test_columns_of_the_input_stand_beside_the_prediction(answered, finetuned, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text('id,text,label\na,"w5, ""w6""",x\nb,w7,y\n')
    given = {"task": "topic", "input": str(path), "output_format": "csv"}
    header, first, _ = csv.reader(io.StringIO(answered("predict", finetuned, **given)))
    assert header[:4] == ["id", "text", "label", "prediction"]
    assert header[4:] == ["probability_no", "probability_yes"]
    assert first[:3] == ["a", 'w5, "w6"', "x"] and first[3] in ("no", "yes")


def test_what_was_predicted_is_predicted_again_beside_it(answered, finetuned, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("text,label,prediction\nw5,x,y\n")
    found = answered("predict", finetuned, task="topic", input=str(path), output_format="csv")
    assert found.startswith("text,label,prediction,prediction_,probability_no,")


def test_rows_without_header_have_numbered_columns(answered, finetuned, tmp_path):
    path = tmp_path / "new.tsv"
    path.write_text("x\tw5\ny\tw6\n")
    given = {"task": "topic", "input": str(path), "text_column": "1", "output_format": "tsv"}
    header, first, _ = answered("predict", finetuned, **given).splitlines()
    assert header.startswith("column_0\tcolumn_1\tprediction\t") and first.startswith("x\tw5\t")
    assert (
        records(answered("predict", finetuned, **given | {"output_format": "jsonl"}))[1]["text"]
        == "w6"
    )


def test_the_columns_of_training_are_found_by_themselves(
    answered, tmp_path, finetuned, monkeypatch
):
    sources = {
        "train": (Source("x", {"text_a": 3}),),
        "test": (Source("x", {"text_a": "premise", "text_b": "hypo", "id": "nr"}),),
    }
    task = dataclasses.replace(finetuned.tasks["nli"], sources=sources)
    monkeypatch.setitem(finetuned.tasks, "nli", task)
    path = tmp_path / "new.jsonl"
    path.write_text('{"nr": 7, "premise": "w5", "hypo": "w6", "text": "no"}\n')
    given = {"task": "nli", "input": str(path), "output_format": "jsonl"}
    (found,) = records(answered("predict", finetuned, **given))
    assert (found["id"], found["text"], found["text_b"]) == ("7", "w5", "w6")


def test_words_of_a_list_stay_whole(answered, finetuned, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"words": ["w5 w6", "w7"]}\n{"text": "w5 w6 w7"}\n')
    given = {"task": "word", "input": str(path), "output_format": "jsonl"}
    first, second = records(answered("predict", finetuned, **given))
    assert first["words"] == ["w5 w6", "w7"] and second["words"] == ["w5", "w6", "w7"]


def test_texts_are_escaped_in_html(answered, pretrained, finetuned):
    bad = '<script>alert(1)</script> & "w5" \''
    for name, model, flags in (
        ("detect", pretrained, {}),
        ("predict", finetuned, {"task": "topic"}),
        ("predict", finetuned, {"task": "chunk"}),
        ("predict", finetuned, {"task": "ask", "text_b": [bad]}),
        ("zero_shot", finetuned, {"task": "nli", "labels": ["<b>", "w5"]}),
        ("fill_mask", pretrained, {"text": ["<script [MASK]"]}),
    ):
        page = answered(name, model, output_format="html", **{"text": [bad], **flags})
        assert "<script" not in page and "<b>" not in page.replace("<p><b>", "")
        assert Page(page).open == []


def test_memory_is_bounded_by_chunks(answered, finetuned, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_CHUNK_ROWS", 3)
    path, sizes = tmp_path / "new.txt", []
    path.write_text("\n\n".join(f"w{5 + i}" for i in range(8)))
    predict = finetuned.predict

    def watched(rows, *args, **kwargs):
        sizes.append(len(rows))
        return predict(rows, *args, **kwargs)

    monkeypatch.setattr(finetuned, "predict", watched)
    given = {"task": "topic", "input": str(path), "output_format": "jsonl"}
    found = records(answered("predict", finetuned, **given))
    assert sizes == [3, 3, 2]
    assert [record["text"] for record in found] == [f"w{5 + i}" for i in range(8)]


def test_an_output_file_appears_whole_or_not_at_all(answered, finetuned, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_CHUNK_ROWS", 1)
    path, output = tmp_path / "new.csv", tmp_path / "out" / "predicted.csv"
    given = {"task": "topic", "input": str(path), "output": str(output)}
    path.write_text('text\nw5\n""\n')
    with pytest.raises(
        ValueError, match=r"new.csv, line 3: no text. Mend the line, or take it out"
    ):
        answered("predict", finetuned, **given)
    assert list(output.parent.iterdir()) == []
    path.write_text("text\nw5\n")
    assert answered("predict", finetuned, **given) == ""
    assert output.read_text().startswith("text,prediction,probability_no,probability_yes\nw5,")


def test_an_output_that_is_called_packed_is_packed(answered, finetuned, tmp_path):
    output = tmp_path / "predicted.jsonl.gz"
    given = {"task": "topic", "text": ["w5"]}
    answered("predict", finetuned, output=str(output), **given)
    plain = answered("predict", finetuned, output_format="jsonl", **given)
    assert gzip.decompress(output.read_bytes()).decode() == plain


def test_half_a_character_is_spelled_out_on_standard_output(answered, finetuned, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"text": "w5 \\ud800"}\n')
    given = {"task": "topic", "input": str(path), "output_format": "jsonl"}
    (found,) = records(answered("predict", finetuned, **given))
    assert found["text"] == "w5 \ud800"


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "flags", "message"),
    [
        ("a.txt", "w5\n", {"text": ["w5"]}, "--text and --input exclude each other"),
        (
            "a.dat",
            "w5\n",
            {},
            "a.dat: the name does not tell the format. Expected: .* --input_format",
        ),
        (
            "a.tsv",
            "x\ty\nw5\tw6\n",
            {},
            "line 1: no column text or sentence \\(text\\). Received: x",
        ),
        (
            "a.tsv",
            "text\nw5\n",
            {"text_column": "t"},
            "line 1: no column t \\(text\\). Received: text",
        ),
        ("a.tsv", "text\ttext\nw5\tw6\n", {}, "line 1: 2 columns 'text' \\(text\\)"),
        ("a.tsv", "text\tx\nw5\tw6\nw7\n", {}, "line 3: 1 columns, before it 2. Received: "),
        ("a.tsv", "w5\tw6\n", {"text_column": "2"}, "line 1: 2 columns, none for text"),
        ("a.csv", 'text\n"w5\n', {}, "a.csv, line 2: unexpected end of data"),
        ("a.jsonl", '{"text": 1}\n{"text": null}\n', {}, "line 2: no text. Mend the line"),
        ("a.jsonl", '{"text": "w5"\n', {}, "a.jsonl, line 1: not JSON"),
        ("a.jsonl", '{"texts": "w5"}\n', {}, "line 1: no key text or sentence \\(text\\)"),
        (
            "a.txt",
            "w5\n",
            {"output": "x.docx"},
            "x.docx: the name does not tell .* --output_format",
        ),
        ("a.txt", "w5\n", {"output": os.devnull}, "is there and no file. Name a file, or leave"),
        ("a.txt", "w5\n", {"task": "nli"}, "a.txt: no text_b, which this model needs beside text"),
        ("a.txt", "w5\n", {"task": "ask"}, "a.txt: no context, which .* --context_column"),
        ("a.txt", "w5\n", {"task": "x"}, "task must be one of topic, "),
    ],
)
def test_what_cannot_be_read_is_named(answered, finetuned, tmp_path, name, text, flags, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        answered("predict", finetuned, **{"task": "topic", "input": str(path), **flags})


def test_what_is_no_utf8_or_not_there_is_named(answered, finetuned, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"w5\nw\xff\n")
    with pytest.raises(ValueError, match="a.txt, line 2 is not UTF-8"):
        answered("predict", finetuned, task="topic", input=str(path))
    with pytest.raises(FileNotFoundError, match="No file .*b.txt. Expected: a file of texts, or -"):
        answered("predict", finetuned, task="topic", input=str(tmp_path / "b.txt"))


def test_what_fails_while_it_is_read_is_named_and_not_the_output(answered, finetuned, tmp_path):
    flags = {"task": "topic", "input_format": "text", "output": str(tmp_path / "o.csv")}
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
        answered("predict", finetuned, input="/proc/self/mem", **flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["w5", ""], ["w5", 6], [["w5"]]], ids=str)
def test_lists_that_are_not_of_words_are_refused(answered, finetuned, tmp_path, words):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"words": words}) + "\n")
    with pytest.raises(ValueError, match="a.jsonl, line 1: (no text|text must be a text, or a l)"):
        answered("predict", finetuned, task="chunk", input=str(path))


def test_a_question_about_a_text_without_words_is_named(answered, finetuned, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "w5", "context": "\\u0001"}\n')
    with pytest.raises(ValueError, match="a.jsonl, line 1: the text has no words. Received"):
        answered("predict", finetuned, task="ask", input=str(path))


def test_a_huge_batch_takes_no_more_memory(answered, finetuned):
    one = answered("predict", finetuned, task="topic", text=["w5"])
    assert answered("predict", finetuned, task="topic", text=["w5"], batch_size=10**12) == one


def test_a_text_that_a_model_cannot_use_is_named_by_its_line(answered, pretrained, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[MASK]\n\nw5\n")
    with pytest.raises(
        ValueError, match=r"a.txt, line 3: the text has no \[MASK\]. Received: 'w5'"
    ):
        answered("fill_mask", pretrained, input=str(path))
    with pytest.raises(ValueError, match="Command line, text 2: the text has no tokens"):
        answered("detect", pretrained, text=["w5", "\u200b"])
    with pytest.raises(ValueError, match="--output_format csv: a row has many answers here"):
        answered("detect", pretrained, text=["w5"], output_format="csv")


def test_second_texts_are_as_many_as_first_ones(answered, finetuned):
    with pytest.raises(ValueError, match="--text_b must be given as often as --text.* 2 and 1 for"):
        answered("predict", finetuned, task="nli", text=["w5", "w6"], text_b=["w7"])
    with pytest.raises(ValueError, match="no text_b, which .* Give --text_b as often as --text"):
        answered("predict", finetuned, task="nli", text=["w5", "w6"])


# ---- in a process of its own --------------------------------------------------------------------


def start(*arguments, **options):
    command = [sys.executable, "-m", "electra", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_standard_output_holds_nothing_but_results(folder):
    arguments = ("predict", "--model_dir", folder, "--task", "topic", "--input", "-")
    formats = ("--input_format", "jsonl", "--output_format", "jsonl")
    process = start(*arguments, *formats, stdout=subprocess.PIPE)
    lines = '{"text": "w5 w6"}\n{"text": "\u4e2d \\ud800"}\n'
    printed, _ = process.communicate(lines)
    assert process.returncode == 0
    assert [record["text"] for record in records(printed)] == ["w5 w6", "\u4e2d \ud800"]


def test_output_that_nobody_reads_ends_the_command_with_141(folder):
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = ("zero-shot", "--model_dir", folder, "--task", "nli", "--labels", "w5,w6")
    process = start(*arguments, "--input", "-", stdout=write_end)
    os.close(write_end)
    _, said = process.communicate("w5 w6\n")
    assert process.returncode == 141 and "Error" not in said

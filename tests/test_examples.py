"""The quickstart's corpus and report; the commands it runs have tests of their own."""

import json
import subprocess
import sys

import pytest

from examples import docstring_corpus, quickstart

MODULE = b'''
# Copyright comments are no documentation.
"""Tools that read the text of a file and give the lines back.

Copyright (c) somebody. All rights reserved by the people who wrote this.
"""

class Reader:
    """Reads a file from the first line to the last one.

    Example::

        reader = Reader("the name of a file that is in the folder")

    >>> Reader("a").read()
    'what is printed is the output of the code and not prose'

    ```python
    for line in the_reader_of_the_file: print("and this is not prose")
    ```

    Args:
      path: A string that says where the file is to be
        found on the disk.
      limit: The number of lines.

    | column | another column of the table that is not prose |
    """

    def read(self):
        """Returns the `lines` of the [file](http://x.org) in the order in which they are."""

add_newdoc("numpy", "thing", """
    A thing that is documented from the outside, as it is compiled.
    """)
message = "This is a string in the program and so it is not written to the corpus."
'''


def test_a_module_gives_its_prose_in_the_order_of_its_source(tmp_path):
    (tmp_path / "reader.py").write_bytes(MODULE)
    files = docstring_corpus.source_files(tmp_path)
    assert docstring_corpus.module_documents(files, set()) == [
        [
            "Tools that read the text of a file and give the lines back.",
            "Reads a file from the first line to the last one.",
            "A string that says where the file is to be found on the disk.",
            "Returns the lines of the file in the order in which they are.",
            "A thing that is documented from the outside, as it is compiled.",
        ]
    ]


def test_a_paragraph_is_written_once_whatever_its_digits_and_case(tmp_path):
    (tmp_path / "a.py").write_text('"""The size of the 2D input, as it was given."""')
    (tmp_path / "b.py").write_text('"""The size of the 3D Input as it was given"""')
    seen = set()
    files = docstring_corpus.source_files(tmp_path)
    assert docstring_corpus.module_documents(files, seen) == [
        ["The size of the 2D input, as it was given."]
    ]
    assert seen == {"thesizeofthedinputasitwasgiven"}


@pytest.mark.parametrize(
    "line",
    [
        "Too few words here.",
        "x=3 is what the code of this is, and so it is not prose",
        "das ist keine englische Zeile und kommt darum nicht vor",
        "это строка на другом языке и она не попадёт в текст",
        "Licensed under the terms of the licence that is in the file",
        "1.0 2.0 3.0 the 4.0 5.0 of 6.0 7.0 and 8.0 9.0 is 10.0 11.0 in",
    ],
)
def test_what_is_not_english_prose_goes(line):
    assert not docstring_corpus.is_prose(line)


def test_modules_that_do_not_parse_and_folders_of_tests_are_passed_over(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text('"""The text of a test is not in the corpus."""')
    (tmp_path / "broken.py").write_text("print 'the text of another version of the language'")
    files = docstring_corpus.source_files(tmp_path)
    assert [path.name for path in files] == ["broken.py"]
    assert docstring_corpus.module_documents(files, set()) == []


def test_the_corpus_is_written_once_and_says_what_it_is(tmp_path):
    out = tmp_path / "corpus"
    record = docstring_corpus.write_corpus(out, ["absl"])
    text = (out / "absl.txt").read_text(encoding="utf-8")
    assert text.isascii() and text.endswith("\n") and "\n\n\n" not in text
    assert record["packages"]["absl"]["characters"] == len(text) > 10_000
    assert record["packages"]["absl"]["modules"] == text.count("\n\n") + 1
    assert json.loads((tmp_path / "corpus.json").read_text()) == record
    written = (out / "absl.txt").stat().st_mtime_ns
    assert docstring_corpus.write_corpus(out, ["absl"]) == record
    assert (out / "absl.txt").stat().st_mtime_ns == written


def test_a_folder_that_is_no_corpus_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Choose another --out"):
        docstring_corpus.write_corpus(tmp_path / "mine", ["absl"])


def test_a_package_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(ValueError, match="Package 'nosuchpackage' is not installed"):
        docstring_corpus.write_corpus(tmp_path / "corpus", ["nosuchpackage"])


def evaluation(step, **values):
    return {"step": step, **dict.fromkeys(quickstart.METRICS, 0.25), **values}


def test_the_report_compares_the_first_evaluation_with_the_last(tmp_path):
    lines = [
        evaluation(0, disc_auc=0.5, mask_slot_loss=7.6, unigram_slot_loss=6.25),
        evaluation(50, disc_auc=0.6, mask_slot_loss=6.3, unigram_slot_loss=6.25),
        evaluation(100, disc_auc=0.75, mask_slot_loss=5.5, unigram_slot_loss=6.25),
    ]
    log = tmp_path / "eval_log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = quickstart.report(*quickstart.read_evaluations(tmp_path))
    assert all(name in text for name in quickstart.METRICS)
    assert "disc_auc                          0.5000      0.7500" in text
    assert "5.5000   +0.7500 nats better than the unigram" in text


def test_a_log_without_step_zero_is_refused(tmp_path):
    log = tmp_path / "eval_log.jsonl"
    log.write_text("".join(json.dumps({"step": step}) + "\n" for step in (50, 100)))
    with pytest.raises(ValueError, match=r"expected an evaluation at step 0.*\[50, 100\]"):
        quickstart.read_evaluations(tmp_path)


def test_a_failing_command_ends_the_quickstart_with_its_status(monkeypatch, capsys, tmp_path):
    def fail(*arguments, **options):
        raise subprocess.CalledProcessError(3, arguments)

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert quickstart.main(["--data_dir", str(tmp_path)]) == 3
    shown = capsys.readouterr().out
    assert f"$ {quickstart.short(sys.executable)} examples/docstring_corpus.py --out" in shown
    assert "Run again to go on" in shown


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"vocab_size": "many", "max_seq_length": 8}'])
def test_bad_hparams_end_the_quickstart_with_their_file(tmp_path, capsys, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    assert quickstart.main(["--data_dir", str(tmp_path / "d"), "--hparams", str(path)]) == 1
    assert f"Error: --hparams {path}" in capsys.readouterr().out

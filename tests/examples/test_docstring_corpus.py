"""The quickstart's corpus: what of a source is prose, and the folder it goes to."""

import json

import pytest

from examples import docstring_corpus

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
    assert docstring_corpus.module_paragraphs(tmp_path / "reader.py") == [
        "Tools that read the text of a file and give the lines back.",
        "Reads a file from the first line to the last one.",
        "A string that says where the file is to be found on the disk.",
        "Returns the lines of the file in the order in which they are.",
        "A thing that is documented from the outside, as it is compiled.",
    ]


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


def test_the_corpus_is_written_once_with_each_paragraph_once(package, tmp_path):
    sources = {
        "a.py": '"""The size of the 2D input, as it was given."""',
        "b.py": '"""The size of the 3D Input as it was given"""',
        "broken.py": "print 'the text of another version of the language'",
        "c.py": '"""The rank of the input, as it was given."""',
        "tests/d.py": '"""The text of a test is not in the corpus."""',
    }
    package("synthetic", sources)
    arguments = ["--out", str(tmp_path / "corpus"), "--packages", "synthetic"]
    docstring_corpus.main(arguments)
    text = tmp_path / "corpus" / "synthetic.txt"
    assert text.read_text() == (
        "The size of the 2D input, as it was given.\n\nThe rank of the input, as it was given.\n"
    )
    written = text.stat().st_mtime_ns
    docstring_corpus.main(arguments)
    assert text.stat().st_mtime_ns == written


def test_another_choice_of_packages_is_refused_with_the_difference(tmp_path):
    out = tmp_path / "corpus"
    out.mkdir()
    record = out / docstring_corpus.MADE_FROM
    record.write_text(json.dumps({"rules": docstring_corpus.RULES, "keras": "0.1"}))
    with pytest.raises(ValueError, match="keras 0.1 instead of nothing") as caught:
        docstring_corpus.make_folder(out, ["absl"], docstring_corpus.RULES, None)
    assert "absl missing instead of" in str(caught.value)


def test_a_folder_that_is_no_corpus_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Remove the folder, or choose another"):
        docstring_corpus.make_folder(tmp_path, ["absl"], docstring_corpus.RULES, None)


def test_a_package_that_is_not_installed_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        docstring_corpus.main(["--out", str(tmp_path / "c"), "--packages", "nosuchpackage"])
    assert "Package 'nosuchpackage' is not installed" in capsys.readouterr().err

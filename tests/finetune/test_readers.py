"""The readers: literal rows of every task, real rows of those at hand, and what is refused."""

import dataclasses
import gzip
import json

import pytest

from electra.finetune import files
from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.task_files import make_task
from electra.finetune.tasks import TASKS, get_task


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def own(folder, family="classification", **values):
    """A row for files in `folder`."""
    return make_task({"name": "my", "family": family, **values}, "my.json", str(folder))


def texts(examples):
    return [(each.text_a, each.text_b, each.label) for each in examples]


# ---- literal rows of every task ---------------------------------------------------------------

NLI = '{"sentence1": "a", "sentence2": "b", "label": "-"}\n' * 2 + (
    '{"sentence1": "c", "sentence2": "d", "label": "neutral"}\n'
)
WSC = {
    "target": {"span2_index": 5, "span1_index": 1, "span1_text": "毛豆", "span2_text": "他"},
    "label": "true",
    "text": "。毛豆生气他走",
}
CONLL = "El DA O\nAbogado NC B-PER\nGeneral AQ I-PER\n\nMelbourne NP B-LOC\n"
NER = [("O", "B-PER", "E-PER"), ("S-LOC",)]
SPAN = {"text": "b c", "char_spans": [[2, 4]]}  # MRQA counts the last character too
MRQA = '{"header": {"dataset": "x"}}\n' + json.dumps(
    {
        "context": "a b c",
        "qas": [{"qid": "7", "question": "q", "answers": ["b c"], "detected_answers": [SPAN]}],
    }
)


def squad(context, *questions):
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})


ANSWERED = {"id": "1", "question": "q?", "answers": [{"text": "b", "answer_start": 2}]}
IMPOSSIBLE = {"id": "2", "question": "r?", "answers": [], "is_impossible": True}
PAIR = [("a", "b", "1")]
ROWS = {
    ("cola", "train"): ("train.tsv", 'x\t1\t*\t"A b.\n', [('"A b.', None, "1")]),
    ("cola", "test"): ("test.tsv", "index\tsentence\n5\tA b.", [("A b.", None, None)]),
    ("sst", "dev"): ("dev.tsv", "sentence\tlabel\ngood \t1\n", [("good ", None, "1")]),
    ("mrpc", "train"): (
        "train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\ta\tb\r\n",
        [("a", "b", "1"), ("b", "a", "1")],
    ),
    ("sts", "dev"): (
        "dev.tsv",
        "index\tsentence1\tsentence2\tscore\n0\ta\tb\t2.600\n",
        [("a", "b", 0.52)],
    ),
    ("qqp", "train"): (
        "train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\n1\t2\t3\ta\tb\t1\n",
        PAIR,
    ),
    ("mnli", "dev_mismatched"): (
        "dev_mismatched.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tcontradiction\n",
        [("a", "b", "contradiction")],
    ),
    ("qnli", "train"): (
        "train.tsv",
        "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n",
        [("a", "b", "not_entailment")],
    ),
    ("rte", "test"): ("test.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n", [("a", "b", None)]),
    ("wnli", "train"): ("train.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n", PAIR),
    ("ax", "test"): ("diagnostic.tsv", "index\tsentence1\tsentence2\n0\ta\tb", [("a", "b", None)]),
    ("xnli", "train"): (
        "multinli.train.es.tsv",
        "premise\thypo\tlabel\na\tb\tcontradictory\n",
        [("a", "b", "contradiction")],
    ),
    ("xnli", "dev"): (
        "xnli.dev.tsv",
        "language\tgold_label\tsentence1\tsentence2\nar\tneutral\tx\ty\nes\tneutral\ta\tb\n",
        [("a", "b", "neutral")],
    ),
    ("xnli", "test"): ("test-es.tsv", 'a\t"""b"""\n', [("a", '"b"', None)]),
    ("pawsx", "train"): (
        "es/translated_train.tsv",
        "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n",
        PAIR,
    ),
    ("pawsx", "dev"): ("dev-es.tsv", '"a"\tb\t1\n', PAIR),
    ("afqmc", "dev"): ("dev.json", '{"sentence1": "a", "sentence2": "b", "label": "1"}', PAIR),
    ("tnews", "dev"): ("dev.json", '{"label": "116", "sentence": "a"}', [("a", None, "116")]),
    ("iflytek", "dev"): ("dev.json", '{"label": 10, "sentence": "a"}', [("a", None, "10")]),
    ("cmnli", "train"): ("train.json", NLI, [("c", "d", "neutral")]),
    ("ocnli", "train"): ("train.json", NLI, [("c", "d", "neutral")]),
    ("wsc", "dev"): (
        "dev.json",
        json.dumps(WSC, ensure_ascii=False),
        [("。_毛豆_生气[他]走", None, "true")],
    ),
    ("csl", "dev"): (
        "dev.json",
        '{"abst": "b", "keyword": ["x", "y"], "label": "0"}',
        [("x y", "b", "0")],
    ),
    ("chunk", "dev"): ("dev.txt", "He PRP B-NP\ntalked VBD B-VP\n", [("S-NP", "S-VP")]),
    ("conll2002ner", "dev"): ("esp.testa", CONLL, NER),
    ("conll2002pos", "dev"): ("esp.testa", CONLL, [("DA", "NC", "AQ"), ("NP",)]),
    ("squad", "train"): ("train.json", squad("a b", ANSWERED, IMPOSSIBLE), ["b", None]),
    ("squadv1", "train"): ("train.json", squad("a b", ANSWERED), ["b"]),
    **{
        (name, "train"): (f"train.jsonl{gz}", MRQA, ["b c"])
        for name, gz in [("newsqa", ""), ("naturalqs", ".gz"), ("triviaqa", ""), ("searchqa", "")]
    },
}


def test_every_task_has_a_literal_row():
    assert {name for name, _ in ROWS} == set(TASKS)


@pytest.mark.parametrize(("name", "split"), ROWS)
def test_literal_rows_are_read(tmp_path, name, split):
    path, text, expected = ROWS[name, split]
    task = get_task(name)
    write(tmp_path / task.folder, path, text)
    examples = read_examples(
        resolve_labels(task, tmp_path) if split == "train" else task, split, tmp_path
    )
    if task.family == "qa":
        assert [each.answer for each in examples] == expected
        assert [each.is_impossible for each in examples] == [e is None for e in expected]
    elif task.family == "tagging":
        assert [each.tags for each in examples] == expected
    else:
        assert texts(examples) == expected


def test_ids_are_the_files_own_in_what_is_predicted(tmp_path):
    write(tmp_path / "cola", "test.tsv", "index\tsentence\n5\tA\n9\tB\n")
    assert [each.id for each in read_examples(get_task("cola"), "test", tmp_path)] == ["5", "9"]


def test_dutch_is_read_by_the_hparam(tmp_path):
    write(tmp_path / "conll2002", "ned.train", "-DOCSTART- -DOCSTART- O\nDe Art O\n")
    examples = read_examples(get_task("conll2002ner"), "train", tmp_path, language="nl")
    assert [each.words for each in examples] == [("De",)]


def test_english_pawsx_is_not_translated(tmp_path):
    write(tmp_path / "pawsx", "en/train.tsv", ROWS["pawsx", "train"][1])
    assert texts(read_examples(get_task("pawsx"), "train", tmp_path, language="en")) == PAIR


def test_one_order_is_read_without_double_unordered(tmp_path):
    write(tmp_path / "mrpc", *ROWS["mrpc", "train"][:2])
    examples = read_examples(get_task("mrpc"), "train", tmp_path, double_unordered=False)
    assert texts(examples) == PAIR


# ---- questions --------------------------------------------------------------------------------


def test_answers_that_do_not_stand_there_are_left_out_of_training_only(tmp_path):
    wrong = {**ANSWERED, "id": "3", "answers": [{"text": "z", "answer_start": 2}]}
    beyond = {**ANSWERED, "id": "4", "answers": [{"text": "b c", "answer_start": 2}]}
    empty = {**ANSWERED, "id": "5", "answers": [{"text": "", "answer_start": 0}]}
    text = squad("a b", ANSWERED, wrong, beyond, empty)
    for split, expected in (("train", ["1"]), ("dev", ["1", "3", "4", "5"])):
        write(tmp_path / "squadv1", f"{split}.json", text)
        examples = read_examples(get_task("squadv1"), split, tmp_path)
        assert [each.id for each in examples] == expected


def test_answers_inside_ideographs_begin_and_end_there_in_own_tasks(tmp_path):
    question = {**ANSWERED, "answers": [{"text": "三国", "answer_start": 2}]}
    write(tmp_path, "train.json", squad("《战三国》 ab", question))
    task = own(tmp_path, "qa", files={"train": "train.json"})
    (example,) = read_examples(task, "train", "")
    assert example.document.words == ["《", "战", "三", "国", "》", "ab"]
    assert (example.first_word, example.last_word) == (2, 3)
    assert example.document.text(2, 5) == "三国》 ab"


# ---- labels -------------------------------------------------------------------------------------


def test_labels_come_from_the_training_file(tmp_path):
    write(tmp_path, "train.csv", 'text,label\n"a, b",yes\nc,no\n')
    task = own(tmp_path, files={"train": "train.csv"}, columns={"text_a": "text", "label": "label"})
    assert resolve_labels(task, "").labels == ("no", "yes")


def test_tags_from_train_get_all_letters_of_a_type(tmp_path):
    write(tmp_path, "train.conll", "a B-X\nb O\n")
    task = own(tmp_path, "tagging", files={"train": "train.conll"}, labels="from train")
    assert resolve_labels(task, "").labels == ("B-X", "E-X", "I-X", "O", "S-X")


# ---- what is refused ----------------------------------------------------------------------------

COLUMNS = {"text_a": "text", "label": "label"}
QA_TASK = {"family": "qa"}
TAGS = {"family": "tagging"}
REFUSED = {
    "missing column": ("a.tsv", "text\tlabels\nx\ty\n", {}, "line 1: no column 'label'"),
    "semicolons": ("a.csv", "text;label\nx;y\n", {}, "cut at ',', these at ';': save it with ','"),
    "column twice": ("a.tsv", "text\ttext\tlabel\n", {}, "line 1: 2 columns 'text' (text_a)"),
    "missing key": ("a.jsonl", '{"text": "a"}', {}, "line 1: no key 'label' (label). Received: te"),
    "short row": ("a.tsv", "text\tlabel\nx\tno\ny\n", {}, "line 3: 1 columns, none for label"),
    "unknown label": ("a.tsv", "text\tlabel\nx\t1\n", {}, "line 2: label '1' is unknown. Expec"),
    "no label": ("a.tsv", "text\tlabel\nx\t\n", {}, "line 2: no label"),
    "empty table": ("a.csv", "", {}, "holds no examples"),
    "comma inside a text": (
        "a.csv",
        "text,label\r\na,no\r\na, b,no\r\n",
        {},
        "line 3: 3 columns, in line 1 2. Received",
    ),
    "null text": ("a.jsonl", '{"text": null, "label": "no"}', {}, "line 1: no text"),
    "header only": ("a.tsv", "text\tlabel\n", {}, "holds no examples"),
    "empty file": ("a.jsonl", "", {}, "holds no examples"),
    "malformed line": ("a.jsonl", '{"text": "a", "label": "no"}\n{"te', {}, "line 2: not JSON at"),
    "array line": ("a.jsonl", '["a"]\n', {}, "line 1: expected a JSON dict"),
    "open quote": ("a.csv", 'text,label\na,no\n"b,no\n', {}, "line 3: unexpected end of data"),
    "not UTF-8": ("a.tsv", b"text\tlabel\n\xff\tno\n", {}, "line 2 is not UTF-8"),
    "unknown format": ("a.dat", "x", {}, "does not tell the format"),
    "score": (
        "a.tsv",
        "text\tlabel\nx\t7\n",
        {"family": "regression", "label_range": [0, 5]},
        "line 2: the score '7' is no number from 0 to 5",
    ),
    "NaN score": (
        "a.tsv",
        "text\tlabel\nx\tnan\n",
        {"family": "regression"},
        "line 2: the score 'nan' is no",
    ),
    "score in words": (
        "a.tsv",
        "text\tlabel\nx\thigh\n",
        {"family": "regression"},
        "line 2: the score 'high' is",
    ),
    "NaN in JSON": (
        "a.jsonl",
        '{"text": "a", "label": NaN}',
        {"family": "regression"},
        "line 1: NaN is no JSON",
    ),
    "torn sentence": (
        "a.txt",
        "a X O\nb c X O\n",
        TAGS,
        "line 2: 4 columns, 3 in the line before. Expected: the word in column 0, its tag ",
    ),
    "tag without a word": ("a.txt", "a\tO\nb\t\n", TAGS, "line 2: 2 columns. Expected: the w"),
    "blank sentences only": ("a.txt", "\n \n\r\n-DOCSTART- O\n\n", TAGS, "holds no examples"),
    "one column": ("a.txt", "a O\nb\n", TAGS, "line 2: 1 columns"),
    "no span": ("a.txt", "a O\n\nb NP\n", TAGS, "line 3: tag 'NP' marks no span"),
    "unknown type": ("a.txt", "b B-Z\n", {**TAGS, "labels": ["B-X"]}, "line 1: label 'S-Z'"),
    "unknown tag": (
        "a.txt",
        "b Z\n",
        {**TAGS, "labels": ["X", "Y"], "metrics": "accuracy"},
        "line 1: label 'Z'",
    ),
    "malformed SQuAD": ("a.json", '{"data":\n [}', QA_TASK, "not JSON at line 2, column 3"),
    "no data": ("a.json", "{}", QA_TASK, "a.json: it lacks 'data'"),
    "no id": (
        "a.json",
        squad("a b", {"question": "q?"}),
        QA_TASK,
        "paragraphs[0], qas[0]: it lacks 'id'",
    ),
    "answer that is no text": (
        "a.json",
        squad("a b", {**ANSWERED, "answers": [3]}),
        QA_TASK,
        "qas[0]: an item of 'answers' of it is 3, expected a string or a dict",
    ),
    "is_impossible as text": (
        "a.json",
        squad("a b", {**IMPOSSIBLE, "is_impossible": "false"}),
        QA_TASK,
        "data[0], paragraphs[0], qas[0]: is_impossible is no truth value. Received: 'false'",
    ),
    "answers elsewhere": (
        "a.json",
        squad("a b", {**ANSWERED, "answers": [{"text": "b", "answer_start": 0}]}),
        QA_TASK,
        "1 of 1 questions have answers that do not stand where the file says. The first: ",
    ),
    "a list of questions": ("a.json", "[]", QA_TASK, "expected a JSON dict. Received: '[]'"),
    "no answers": (
        "a.json",
        squad("a b", IMPOSSIBLE),
        {**QA_TASK, "metrics": "squad_v1"},
        "no answer with",
    ),
    "no span of answer": (
        "a.jsonl",
        '\n{"context": "a", "qas": [{"id": 1, "question": "q", "answers": ["a"]}]}',
        QA_TASK,
        "line 2, qas[0]: no answer with its place",
    ),
    "target": (
        "a.jsonl",
        '{"text": "a", "label": "no"}',
        {"columns": {"text_a": "text", "label": "label", "target": "text"}},
        "must hold span1_in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, case):
    name, text, values, message = REFUSED[case]
    path = write(tmp_path, name, text)
    if values.get("family", "classification") == "classification":
        values = {"columns": COLUMNS, "labels": ["no", "yes"], **values}
    elif values["family"] == "regression":
        values = {"columns": COLUMNS, **values}
    task = own(tmp_path, **{"files": {"train": name}, **values})
    with pytest.raises(ValueError) as error:
        read_examples(task, "train", "")
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_tab_inside_a_text_makes_no_label(tmp_path):
    write(tmp_path, "a.tsv", "text\tlabel\nx\ty\tno\n")
    task = own(tmp_path, files={"train": "a.tsv"}, columns=COLUMNS)
    with pytest.raises(ValueError, match="a.tsv, line 2: 3 columns, in line 1 2"):
        resolve_labels(task, "")


def test_one_label_for_all_is_refused(tmp_path):
    path = write(tmp_path, "a.tsv", "a\t7\nb\t7\n")
    task = own(tmp_path, files={"train": "a.tsv"}, columns={"text_a": 0, "label": 1})
    with pytest.raises(ValueError, match="only one label, '7'. Expected: two or more") as error:
        resolve_labels(task, "")
    assert str(path) in str(error.value)


def test_a_header_is_not_taken_for_an_example(tmp_path):
    write(tmp_path, "a.tsv", "text\tlabel\na\tno\nb\tyes\nc\tno\n")
    by_number = {"files": {"train": "a.tsv"}, "columns": {"text_a": 0, "label": 1}}
    with pytest.raises(ValueError, match="a.tsv, line 1: the label 'label' stands in no other"):
        resolve_labels(own(tmp_path, **by_number), "")
    by_name = own(tmp_path, **{**by_number, "columns": COLUMNS})
    assert resolve_labels(by_name, "").labels == ("no", "yes")


def test_a_tag_that_a_model_does_not_know_is_named_with_its_line(tmp_path):
    write(tmp_path, "dev.txt", "a X O\nb X B-NP\nc X I-NP\n")
    task = own(tmp_path, "tagging", files={"dev": "dev.txt"})
    for labels, message in (
        (("O", "S-NP"), "line 2: label 'B-NP' is unknown. Expected: O, S-NP"),
        (("B-NP", "O", "S-NP"), "line 3: label 'E-NP' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            read_examples(dataclasses.replace(task, labels=labels), "dev", "")


def test_lists_in_json_lines_are_joined(tmp_path):
    write(tmp_path, "a.jsonl", '{"text": ["a", null, "", 3], "label": "no"}\n')
    task = own(tmp_path, files={"train": "a.jsonl"}, columns=COLUMNS, labels=["no", "yes"])
    assert [each.text_a for each in read_examples(task, "train", "")] == ["a null  3"]


def test_questions_that_share_an_id_are_not_scored(tmp_path):
    write(tmp_path, "a.json", squad("a b", ANSWERED, {**IMPOSSIBLE, "id": 1}))
    task = own(tmp_path, "qa", files=dict.fromkeys(("train", "dev", "test"), "a.json"))
    assert len(read_examples(task, "train", "")) == 2
    for split in ("dev", "test"):
        with pytest.raises(ValueError, match=r"qas\[1\]: the id '1' comes twice. Give each its"):
            read_examples(task, split, "")


def test_questions_without_answers_are_not_scored_by_them(tmp_path):
    write(tmp_path, "a.json", squad("a b", IMPOSSIBLE))
    task = own(tmp_path, "qa", files={"dev": "a.json"}, metrics="squad_v1")
    with pytest.raises(ValueError, match=r"qas\[0\]: no answers to score with"):
        read_examples(task, "dev", "")


def test_a_file_to_predict_needs_its_texts_but_no_labels(tmp_path):
    task = own(
        tmp_path,
        files={"test": "a.csv", "dev": "b.csv"},
        labels=["no", "yes"],
        columns={**COLUMNS, "id": "key"},
    )
    write(tmp_path, "a.csv", "key,text\n7,x\n8,y\n")
    examples = read_examples(task, "test", "")
    assert [(each.id, each.text_a, each.label) for each in examples] == [
        ("7", "x", None),
        ("8", "y", None),
    ]
    write(tmp_path, "a.csv", "key,txt\n7,x\n")
    with pytest.raises(ValueError, match="line 1: no column 'text' .text_a.. Received: key, txt"):
        read_examples(task, "test", "")
    write(tmp_path, "b.csv", "text,label\nx,no\n")
    assert [each.id for each in read_examples(task, "dev", "")] == ["0"]


def test_a_damaged_archive_is_refused(tmp_path):
    path = write(tmp_path, "a.jsonl.gz", '{"text": "a", "label": "no"}\n' * 9)
    path.write_bytes(path.read_bytes()[:-9])
    task = own(tmp_path, files={"train": "a.jsonl"}, columns=COLUMNS)
    with pytest.raises(ValueError, match="a.jsonl.gz is damaged behind line"):
        read_examples(task, "train", "")
    path.write_bytes(b"not packed")
    with pytest.raises(ValueError, match="a.jsonl.gz is damaged behind line 0: Not a gzipped"):
        read_examples(task, "train", "")
    path.write_bytes(gzip.compress(b"")[:3] + b"\x20" + gzip.compress(b"")[4:])  # a reserved flag
    with pytest.raises(ValueError, match="a.jsonl.gz is damaged behind line 0"):
        read_examples(task, "train", "")


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LONGEST_LINE", 100)
    write(tmp_path, "a.jsonl.gz", f'{{"text": "{"a" * 100}", "label": "no"}}\n')
    task = own(tmp_path, files={"train": "a.jsonl"}, columns=COLUMNS)
    with pytest.raises(ValueError, match="a.jsonl.gz, line 1 has 100 bytes or more. Cut it"):
        read_examples(task, "train", "")


def test_missing_files_are_named_with_all_that_were_tried(tmp_path):
    with pytest.raises(FileNotFoundError, match="xnli.dev.tsv or .*dev-es.tsv"):
        read_examples(get_task("xnli"), "dev", tmp_path)
    with pytest.raises(ValueError, match="'ax' has no split 'train'. It has: test"):
        read_examples(get_task("ax"), "train", tmp_path)


def test_blank_lines_and_a_test_file_without_labels_are_fine(tmp_path):
    write(tmp_path, "test.csv", "text\n\na\n")
    task = own(tmp_path, files={"test": "test.csv"}, columns=COLUMNS)
    assert texts(read_examples(task, "test", "")) == [("a", None, None)]
    write(tmp_path, "test.txt", "a\nb\n")
    (example,) = read_examples(own(tmp_path, "tagging", files={"test": "test.txt"}), "test", "")
    assert (example.words, example.tags) == (("a", "b"), None)


def test_columns_of_words_may_have_tabs_comments_blanks_and_marks(tmp_path):
    text = "\ufeff# text = a\r\n1\tNew York\tX\r\n2\t\u00a0\tY\r\n\r\n \r\n\r\n1\t#\tX"
    write(tmp_path, "a.conllu", text)
    task = own(
        tmp_path,
        "tagging",
        files={"train": "a.conllu"},
        metrics="accuracy",
        columns={"words": 1, "tags": 2},
    )
    examples = read_examples(task, "train", "")
    assert [(each.words, each.tags) for each in examples] == [
        (("New York", ""), ("X", "Y")),
        (("#",), ("X",)),
    ]
    write(tmp_path, "a.conllu", "\n10\u00a0000 X\n# Y\n\n\nb X\n")
    task = own(tmp_path, "tagging", files={"train": "a.conllu"}, metrics="accuracy")
    examples = read_examples(task, "train", "")
    assert [each.words for each in examples] == [("10\u00a0000", "#"), ("b",)]


def test_given_tags_get_all_letters_of_their_types(tmp_path):
    task = own(tmp_path, "tagging", files={"train": "a.txt"}, labels=["O", "B-X", "I-X"])
    assert task.labels == ("B-X", "E-X", "I-X", "O", "S-X")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "text\tlabel\na\tno\nb\tyes\n"),
        ("a.csv", 'text,label\n"a",no\nb,"yes"\n'),
        ("a.csv.gz", "text,label\na,no\nb,yes"),
        ("a.jsonl", '{"text": "a", "label": "no"}\n\n{"text": "b", "label": "yes"}\n'),
    ],
)
def test_own_texts_are_read_in_every_format(tmp_path, name, text, mark, end):
    write(tmp_path, name, mark + text.replace("\n", end))
    task = own(tmp_path, files={"train": name}, columns=COLUMNS)
    task = resolve_labels(task, "")
    assert task.labels == ("no", "yes")
    assert texts(read_examples(task, "train", "")) == [("a", None, "no"), ("b", None, "yes")]

"""Real files of the benchmarks, read whole: the counts that they have, their first rows."""

import pytest

from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.task_files import make_task
from electra.finetune.tasks import get_task
from tests.shared import DATA, needs_data


def own(folder, family="classification", **values):
    """A row for files in `folder`."""
    return make_task({"name": "my", "family": family, **values}, "my.json", str(folder))


def texts(examples):
    return [(each.text_a, each.text_b, each.label) for each in examples]


REAL = {
    "cola": {"train": 8551, "dev": 1043, "test": 1063},
    "sst": {"train": 67349, "dev": 872, "test": 1821},
    "mrpc": {"train": 2 * 3668, "dev": 408, "test": 1725},
    "sts": {"train": 2 * 5749, "dev": 1500, "test": 1379},
    "qqp": {"train": 256, "dev": 64},
    "mnli": {"train": 384, "dev": 96},
    "ax": {"test": 1104},
    "qnli": {"train": 320, "dev": 5463, "test": 5463},
    "squad": {"train": 4449, "dev": 1629},
    "squadv1": {"train": 7938, "dev": 1190},
    "newsqa": {"dev": 17},
    "chunk": {"train": 8936, "dev": 2012, "test": 2012},
    "conll2002ner": {"train": 8323, "dev": 1915, "test": 1517},
    "conll2002pos": {"train": 8323, "dev": 1915, "test": 1517},
    "xnli": {"dev": 2490, "test": 5010},
    "pawsx": {"dev": 2000},
    "afqmc": {"train": 34334, "dev": 4316, "test": 3861},
    "tnews": {"train": 53360, "dev": 10000},
    "iflytek": {"train": 3024, "dev": 1373},
    "ocnli": {"train": 10000 - 15, "dev": 3000 - 50, "test": 3000},
    "wsc": {"train": 976, "dev": 159},
    "csl": {"train": 2838, "dev": 160},
}
FOLDER = DATA / "finetuning_data"


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_whole(name):
    task = get_task(name)
    if "train" in REAL[name]:
        task = resolve_labels(task, FOLDER)
    for split, count in REAL[name].items():
        examples = read_examples(task, split, FOLDER)
        assert len(examples) == count, split
        if task.family == "classification" and not split.startswith("test"):
            assert {each.label for each in examples} <= set(task.labels)
        if task.family == "classification":
            assert not any("\t" in each.text_a for each in examples)
    if name == "chunk":  # of the test file alone
        assert "E-LST" in task.labels


FIRST = {
    ("cola", "train"): ("Our friends won't buy this analysis, let alone the", None, "1"),
    ("cola", "test"): ("Bill whistled past the house.", None, None),
    ("sst", "train"): ("hide new secretions from the parental units ", None, "0"),
    ("mrpc", "dev"): ("He said the foodservice pie", '" The foodservice pie business does', "1"),
    ("sts", "dev"): ("A man with a hard hat is", "A man wearing a hard hat is dancing.", 1.0),
    ("qqp", "dev"): ("Calculus required for physics?", "Can two algebraic structures of", "0"),
    ("qnli", "dev"): ("What came into force after", "As of that day, the new", "entailment"),
    ("mnli", "dev"): ("War, Blockades, and Peace", "Seclusion, inclusion", "contradiction"),
    ("ax", "test"): ("The cat sat on the mat.", "The cat did not sit on the mat.", None),
    ("xnli", "dev"): ("Y él dijo: Mamá, estoy en casa.", "Llamó a su madre tan", "neutral"),
    ("pawsx", "dev"): ("El Consejo Shawnee Trail nació", "El Consejo de caminos", "1"),
    ("afqmc", "dev"): ("双十一花呗提额在哪", "里可以提花呗额度", "0"),
    ("tnews", "dev"): ("江疏影甜甜圈自拍", None, "102"),
    ("iflytek", "dev"): ("为你定制的移动办公创新平台", None, "113"),
    ("ocnli", "dev"): ("身上裹一件工厂发的棉大衣,", "身上至少一件衣服", "entailment"),
    ("wsc", "dev"): ("刀光一闪\uff0c那_舌头_象一只受惊的老鼠", None, "true"),
}


@needs_data
@pytest.mark.parametrize(("name", "split"), FIRST)
def test_the_first_real_row_is_the_files(name, split):
    each, expected = read_examples(get_task(name), split, FOLDER)[0], FIRST[name, split]
    assert each.text_a.startswith(expected[0])
    assert (each.text_b or "").startswith(expected[1] or "")
    assert (each.text_b is None, each.label) == (expected[1] is None, expected[2])


@needs_data
def test_the_first_real_sentence_question_and_abstract_are_the_files():
    first = read_examples(get_task("chunk"), "train", FOLDER)[0]
    assert first.words[:6] == ("Confidence", "in", "the", "pound", "is", "widely")
    assert first.tags[:6] == ("S-NP", "S-PP", "B-NP", "E-NP", "B-VP", "I-VP")
    tags = {"ner": ("B-LOC", "E-LOC", "O", "S-LOC"), "pos": ("NC", "VMI", "Fpa", "NC")}
    for name, expected in tags.items():
        first = read_examples(get_task(f"conll2002{name}"), "dev", FOLDER)[0]
        assert (first.words[:4], first.tags[:4]) == (("Sao", "Paulo", "(", "Brasil"), expected)
    first = read_examples(get_task("squad"), "dev", FOLDER)[0]
    assert (first.id, set(first.answers)) == ("1ceb01ddf0ba4c93fb95e6b40", {"Latin"})
    assert first.document.context[74:79] == "Latin"
    first = read_examples(get_task("squadv1"), "dev", FOLDER)[0]
    assert first.document.words[:3] == ["The", "Panthers", "defense"]
    first = read_examples(get_task("newsqa"), "dev", FOLDER)[0]
    assert first.document.words[:4] == ["(CNN)", "--", "What", "could"]
    assert first.answers
    first = read_examples(get_task("csl"), "dev", FOLDER)[0]
    assert first.text_b.startswith("归责原则是环境侵权制度的核心和关键,考察现行")


@needs_data
@pytest.mark.parametrize("language", ["en", "es", "zh"])
def test_real_files_of_other_languages_are_read(language):
    for name, count in (("xnli", 2490), ("pawsx", 2000)):
        task = get_task(name)
        examples = read_examples(task, "dev", FOLDER, language=language)
        assert len(examples) == count
        assert {each.label for each in examples} == set(task.labels)


@needs_data
def test_the_quoted_layout_holds_what_the_official_one_does():
    official = texts(read_examples(get_task("pawsx"), "dev", FOLDER))
    task = own(
        FOLDER / "pawsx",
        files={"dev": "xtreme-dev-es.tsv"},
        quoted=True,
        columns={"text_a": 0, "text_b": 1, "label": 2},
    )
    assert texts(read_examples(task, "dev", "")) == official


@needs_data
@pytest.mark.parametrize(
    ("path", "count", "located"),
    [
        ("squad_es/dev-v2.0-es_small.json", 7134, 6473),
        ("squad_es/xquad.es.json", 1190, 1189),
        ("squad_es/mlqa.dev-context-es-question-es.json", 500, 500),
        ("squad_zh/cmrc2018_dev.json", 3219, 3216),
        ("squad_zh/cmrc2018_trial.json", 1002, 995),
        ("squad_zh/xquad.zh.json", 1190, 1190),
    ],
)
def test_real_questions_in_other_languages_are_read_as_own_tasks(path, count, located):
    task = own(FOLDER, "qa", files={"train": path, "dev": path})
    assert len(read_examples(task, "dev", "")) == count
    examples = read_examples(task, "train", "")
    assert len(examples) == located
    for each in examples:
        if each.answer is not None:
            text = each.document.text(each.first_word, each.last_word)
            assert " ".join(each.answer.split()).lower() in text.lower()

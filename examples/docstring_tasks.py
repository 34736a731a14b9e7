"""Three labelled tasks made from the documentation of installed packages, in official formats.

Enters: sources, read as docstring_corpus.py reads them. Leaves: a folder for each task, with a
file for training, one for development, and `task.json`, a task file of run_finetuning.py:

- library: which package a paragraph is from, as GLUE's tables (tab-separated, nothing quoted).
  Paragraphs with a package's name are left out; every package has as many.
- code: which words of a sentence are code, as CoNLL's columns, word and tag. The backticks that
  said so are gone.
- argument: what an argument means, as SQuAD 1.1's JSON. A few entries of an Args section are the
  context, the meaning of one of them is the answer.

A module is read for training or for development, and an example that comes again is left out, so
that the two share none. `baselines.json` says what one scores without a network.

    python -m examples.docstring_tasks --out data/finetuning_data/docstrings
"""

import collections
import inspect
import json
import random
import re
import zlib

from examples import docstring_corpus as corpus

PACKAGES = tuple(name for name in corpus.PACKAGES if name not in ("tensorflow_text", "absl"))
RULES = 2  # raise it when what is written changes
SIZES = {"train": 3500, "dev": 700}  # examples of each task, at most
DEV_SHARE = 5  # one module in so many
HPARAMS = {"max_seq_length": 64, "num_train_epochs": 3, "learning_rate": 5e-4}
TASKS = {
    "library": {
        "family": "classification",
        "files": {"train": "train.tsv", "dev": "dev.tsv"},
        "columns": {"text_a": "sentence", "label": "label"},
        "hparams": HPARAMS,
    },
    "code": {
        "family": "tagging",
        "files": {"train": "train.txt", "dev": "dev.txt"},
        "metrics": "span_f1",
        "hparams": HPARAMS,
    },
    "argument": {
        "family": "qa",
        "files": {"train": "train.json", "dev": "dev.json"},
        "metrics": "squad_v1",
        "hparams": {**HPARAMS, "max_query_length": 16},
    },
}

# Names of packages, also inside others (KerasTensor), and their short forms (tf., np., HfApi).
NAMES = re.compile(
    r"absl|hugging|keras|numpy|python|tensor(flow|board)|(\b|_)(hf|hub|np|tf)", re.IGNORECASE
)
SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z`])")
WORD = re.compile(r"\w+(?:[.-]\w+)*|[^\w\s]")
ARGUMENTS = re.compile(r"^( *)Arg(?:ument)?s: *\n((?:\1 +\S.*\n|\s*\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^\*{0,2}(\w+)(?: ?\([^)\n]*\))?:\s+(.*(?:\n(?: .*)?)*)", re.MULTILINE)
# Enough words to tell, and few enough for max_seq_length word pieces.
LIBRARY_WORDS = range(12, 37)
SENTENCE_WORDS = range(6, 26)
MEANING_WORDS = range(3, 15)
CONTEXT_WORDS = 24


def main(argv=None):
    """Writes the tasks, unless they are there."""
    out = corpus.run_command(argv, __doc__, PACKAGES, RULES, write_tasks)
    print("Scores without a network:", (out / "baselines.json").read_text())


def write_tasks(folder, packages):
    """Writes the tasks' folders.

    Args:
        folder: Path.
        packages: import names, or "stdlib"; the labels of the first task.
    """
    pools = {(name, split): [] for name in TASKS for split in SIZES}
    seen = {name: set() for name in TASKS}
    for package, path, examples in corpus.read_modules(packages, module_examples):
        split = "train" if zlib.crc32(f"{package}/{path}".encode()) % DEV_SHARE else "dev"
        for name, text, example in examples:
            if corpus.is_new(text, seen[name]):
                pools[name, split].append((text, package) if name == "library" else example)
    for (name, split), examples in pools.items():
        random.Random(f"{name} {split}").shuffle(examples)
        if name == "library":
            examples[:] = balanced(examples)
        del examples[SIZES[split] :]
    scores = {}
    for name, (as_text, baseline) in WRITERS.items():
        (folder / name).mkdir()
        task = {"name": name, **TASKS[name]}
        (folder / name / "task.json").write_text(json.dumps(task, indent=1) + "\n")
        for split, file in task["files"].items():
            (folder / name / file).write_text(as_text(pools[name, split]), encoding="utf-8")
        scores[name] = baseline(pools[name, "train"], pools[name, "dev"])
    (folder / "baselines.json").write_text(json.dumps(scores, indent=1) + "\n")


def balanced(examples):
    """As many (text, label) of each label, the labels in turn."""
    groups = collections.defaultdict(list)
    for text, label in examples:
        groups[label].append((text, label))
    return [example for turn in zip(*groups.values(), strict=False) for example in turn]


# ---- examples of a module ----------------------------------------------------------------------


def module_examples(path):
    """The examples in a module.

    Args:
        path: of a .py file.
    Returns:
        list of (name of the task, text by which repetitions are known, example): nothing, (words,
        tags), or (context, question, answer, its first character in the context).
    """
    examples = []
    for text in corpus.documentation_strings(path):
        for paragraph in corpus.prose_paragraphs(text):
            plain = paragraph.replace("`", "")
            if len(plain.split()) in LIBRARY_WORDS and not NAMES.search(plain):
                examples.append(("library", plain, None))
            for sentence in SENTENCE_END.split(paragraph):
                words, tags = tag_code(sentence)
                if "B-CODE" in tags and len(words) in SENTENCE_WORDS:
                    examples.append(("code", " ".join(words), (words, tags)))
        for entries in argument_lists(text):
            for name, meaning in entries:
                examples.append(("argument", f"{name} {meaning}", ask(entries, name)))
    return examples


def tag_code(sentence):
    """Cuts a sentence into words and tags those between backticks.

    Returns:
        (tuple of str, tuple of str): words and BIO tags; no tags where a backtick is left alone.

    >>> tag_code("Is `x.y` a `f(0)`?")
    (('Is', 'x.y', 'a', 'f', '(', '0', ')', '?'),
     ('O', 'B-CODE', 'O', 'B-CODE', 'I-CODE', 'I-CODE', 'I-CODE', 'O'))
    """
    parts = sentence.split("`")
    part_of = [number for number, part in enumerate(parts) for _ in part]
    words, tags, last = [], [], 0
    for match in WORD.finditer("".join(parts)):
        part = part_of[match.start()]
        words.append(match[0])
        tags.append("O" if part % 2 == 0 else "I-CODE" if part == last else "B-CODE")
        last = part
    return tuple(words), tuple(tags) if len(parts) % 2 else ()


def argument_lists(text):
    """Finds short runs of entries in the Args sections of a documentation string.

    Returns: list of lists of two or more (name, meaning), in all CONTEXT_WORDS at most.
    """
    runs = []
    for section in ARGUMENTS.finditer(text + "\n"):
        runs.append([])
        for name, meaning in ENTRY.findall(inspect.cleandoc("\n" + section[2])):
            meaning = corpus.without_marks(meaning).replace("`", "")
            words = len(meaning.split())
            if words not in MEANING_WORDS or not meaning.isascii():
                runs.append([])
                continue
            if words + sum(len(other.split()) for _, other in runs[-1]) > CONTEXT_WORDS:
                runs.append([])
            runs[-1].append((name, meaning))
    return [run for run in runs if len(run) > 1]


def ask(entries, name):
    """Makes a question: (context, question, answer, the answer's first character)."""
    context = ""
    for argument, meaning in entries:
        context += f"{argument}: "
        if argument == name:
            start, answer = len(context), meaning.rstrip(".")
        context += meaning.rstrip(".") + ". "
    return context.rstrip(), f"What does {name} mean?", answer, start


# ---- files, and what one scores without a network ------------------------------------------------


def as_table(examples):
    """(text, label) as GLUE's tables."""
    return "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in examples)


def as_columns(examples):
    """(words, tags) as CoNLL's columns."""
    return "".join(
        "".join(f"{word} {tag}\n" for word, tag in zip(*example, strict=True)) + "\n"
        for example in examples
    )


def as_squad(examples):
    """(context, question, answer, start) as SQuAD 1.1's JSON."""
    articles = []
    for number, (context, question, answer, start) in enumerate(examples):
        answers = [{"text": answer, "answer_start": start}]
        asked = {"id": str(number), "question": question, "answers": answers}
        articles.append({"title": question, "paragraphs": [{"context": context, "qas": [asked]}]})
    return json.dumps({"version": "1.1", "data": articles}, indent=1) + "\n"


def majority_label(train, dev):
    """Accuracy of the most frequent label."""
    label = collections.Counter(label for _, label in train).most_common(1)[0][0]
    return 100 * sum(true == label for _, true in dev) / len(dev)


def majority_tags(train, dev):
    """F1 of spans where each word gets the tag that it has most often in training, else O."""
    from electra.finetune.metrics import entity_scores  # not where sources are read

    counts = collections.defaultdict(collections.Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word.lower()][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    predicted = [[best.get(word.lower(), "O") for word in words] for words, _ in dev]
    return entity_scores([tags for _, tags in dev], predicted)["f1"]


def first_sentence(_, dev):
    """F1 of the context's first sentence, without the name before it."""
    from electra.finetune.metrics import exact_match_scores

    first = {
        number: SENTENCE_END.split(context.partition(": ")[2])[0]
        for number, (context, *_) in enumerate(dev)
    }
    answers = {number: [answer] for number, (_, _, answer, _) in enumerate(dev)}
    return exact_match_scores(answers, first)["f1"]


WRITERS = {
    "library": (as_table, majority_label),
    "code": (as_columns, majority_tags),
    "argument": (as_squad, first_sentence),
}

if __name__ == "__main__":
    main()

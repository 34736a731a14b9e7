"""The table of the fine-tuning tasks, a row each.

A row says all that differs between tasks: folder, files of each split, columns, quoting, labels,
metrics, and what a leaderboard wants. Adding a task is adding a row. Enters: a task's name.
Leaves: Task.
"""

import dataclasses
import functools
from typing import Any

from electra.finetune import families
from electra.finetune.families import FAMILIES, FROM_FILES
from electra.hparams import refuse_unknown

SPLITS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """A file and how to read it.

    Attributes:
        path: str, below the task's folder; {language} stands for the hparam.
        columns: dict role -> column: a name in the header (or the key of a JSON object), or a
            number, and then the file has no header. Roles: text_a, text_b, label, id; target, the
            two spans that `text_a` marks; language, which leaves out the rows of other languages;
            words and tags, whose numbers may count from the end.
        format: one of the family's, or "" for what the family and the file's name say.
        is_quoted: bool, whether fields stand in double quotes; None: in csv, not in tsv.
    """

    path: str
    columns: dict[str, str | int] = dataclasses.field(default_factory=dict)
    format: str = ""
    is_quoted: bool | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table.

    Attributes:
        name: str; family: a name in families.FAMILIES.
        folder: str, below finetuning_data, or an absolute path.
        sources: dict split -> tuple of Source; the first that exists is read. Splits whose names
            begin with "test" need no labels.
        metrics: tuple of names of the family's metrics; the first is the task's score.
        labels: tuple of str in the order of their ids, FROM_TRAIN or FROM_FILES.
        label_aliases: dict, other spellings of labels.
        skipped_labels: tuple of str; rows with such a label are left out.
        label_range: (lowest, highest) score of a regression task, scaled to 0..1.
        is_unordered: bool, whether training sees both orders of the two texts.
        ideographs_are_words: bool, whether an answer may begin and end at any ideograph.
        skips_short_rows: bool, whether rows that lack columns are left out instead of refused.
        languages: dict language -> how the files' names spell it, where it differs.
        model_of: name of the task whose model predicts this one, or "".
        leaderboard: dict split -> file name of a submission.
        hparams: dict, defaults that differ from those of config.py.
    """

    name: str
    family: str
    folder: str
    sources: dict[str, tuple[Source, ...]]
    metrics: tuple[str, ...]
    labels: tuple[str, ...] | str = ()
    label_aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped_labels: tuple[str, ...] = ()
    label_range: tuple[float, float] = (0.0, 1.0)
    is_unordered: bool = False
    ideographs_are_words: bool = False
    skips_short_rows: bool = False
    languages: dict[str, str] = dataclasses.field(default_factory=dict)
    model_of: str = ""
    leaderboard: dict[str, str] = dataclasses.field(default_factory=dict)
    hparams: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def label_ids(self) -> dict[str, int]:
        """Dict label -> its id."""
        return {label: index for index, label in enumerate(self.labels)}

    @property
    def main_metric(self) -> str:
        """The name of the score that ranks trials."""
        return FAMILIES[self.family].ranks_by.get(self.metrics[0], self.metrics[0])

    @property
    def has_pairs(self) -> bool:
        """Whether a row of its files may hold two texts."""
        return any("text_b" in x.columns for files in self.sources.values() for x in files)

    @property
    def has_unanswerable(self) -> bool:
        return "squad_v2" in self.metrics

    @property
    def has_spans(self) -> bool:
        return "span_f1" in self.metrics


def get_task(name, own=()):
    """Looks a task up.

    Args:
        name: str; own: Tasks besides the table's, as those of task files; they come first.
    Raises:
        ValueError: no such task (the closest is named), or two of the name in `own`.
    """
    tasks = {**TASKS, **{task.name: task for task in own}}
    refuse_unknown([name], tasks, "Task")
    if sum(task.name == name for task in own) > 1:
        raise ValueError(f"Two of the task_files have a task {name!r}. Give each a name of its own")
    return tasks[name]


# ---- rows -------------------------------------------------------------------------------------

_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("contradiction", "entailment", "neutral")
_TNEWS = tuple(str(label) for label in range(100, 117) if label not in (105, 111))


def _files(pattern):
    return {split: pattern.format(split) for split in SPLITS}


def _texts(files, text_a, text_b=None, label="label", id="index", **roles):
    """Sources with one layout; what is to be predicted has an id in place of a label."""
    columns = {"text_a": text_a, **({"text_b": text_b} if text_b else {}), **roles}
    sources = {}
    for split, path in files.items():
        last = {"id": id} if split.startswith("test") else {"label": label}
        sources[split] = (Source(path, {**columns, **last}),)
    return sources


def _glue(*columns, **roles):
    return _texts(_files("{}.tsv"), *columns, **roles)


def _clue(*columns, **roles):
    return _texts(_files("{}.json"), *columns, id="id", **roles)


def _with_xtreme(**official):
    """The official file of a split, else that of XTREME: three columns, quoted, no header."""
    xtreme = {"text_a": 0, "text_b": 1, "label": 2}
    return {
        split: (
            *(Source(path, columns) for path in paths),
            Source(f"{split}-{{language}}.tsv", xtreme, is_quoted=True),
        )
        for split, (*paths, columns) in official.items()
    }


def _text(name, sources, labels, submission="", metrics=("accuracy",), folder="", **more):
    leaderboard = {"test": submission} if submission else {}
    more = {"leaderboard": leaderboard, **more}
    return Task(name, families.CLASSIFICATION, folder or name, sources, metrics, labels, **more)


def _qa(name, path, metric):
    sources = {split: (Source(file),) for split, file in _files(path).items()}
    return Task(name, families.QA, name, sources, (metric,), hparams=FAMILIES[families.QA].hparams)


def _tagging(name, folder, files, tags, metric, **more):
    columns = {"words": 0, "tags": tags}
    sources = {split: (Source(path, columns),) for split, path in files.items()}
    return Task(name, families.TAGGING, folder, sources, (metric,), FROM_FILES, **more)


_COLA = {
    **{s: (Source(f"{s}.tsv", {"text_a": 3, "label": 1}),) for s in ("train", "dev")},
    "test": (Source("test.tsv", {"text_a": "sentence", "id": "index"}),),
}
_MNLI = {
    "train": "train.tsv",
    **{split: f"{split}.tsv" for split in ("dev_mismatched", "test_matched", "test_mismatched")},
    "dev": "dev_matched.tsv",
}
_PAWSX = {"text_a": "sentence1", "text_b": "sentence2", "label": "label"}
_XNLI_TRAIN = {"text_a": "premise", "text_b": "hypo", "label": "label"}
_XNLI = {**_PAWSX, "label": "gold_label", "language": "language"}
_CONLL = {"train": "{language}.train", "dev": "{language}.testa", "test": "{language}.testb"}
_CONLL_LANGUAGES = {"es": "esp", "nl": "ned"}
_PAIR = ("sentence1", "sentence2")

_ROWS = (
    # GLUE: tab-separated, nothing quoted
    _text("cola", _COLA, _BINARY, "CoLA.tsv", ("mcc",)),
    _text("sst", _glue("sentence"), _BINARY, "SST-2.tsv"),
    _text("mrpc", _glue("#1 String", "#2 String", "Quality"), _BINARY, "MRPC.tsv",
          ("accuracy", "f1"), is_unordered=True),
    Task("sts", families.REGRESSION, "sts", _glue(*_PAIR, "score"), ("spearman", "pearson"),
         label_range=(0.0, 5.0), is_unordered=True, leaderboard={"test": "STS-B.tsv"},
         hparams={"num_train_epochs": 10}),
    # The official files have a few rows that break off; the official code leaves them out too.
    _text("qqp", _glue("question1", "question2", "is_duplicate", id="id"), _BINARY, "QQP.tsv",
          ("accuracy", "f1"), skips_short_rows=True),
    _text("mnli", _texts(_MNLI, *_PAIR, "gold_label"), _NLI,
          leaderboard={"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"}),
    _text("qnli", _glue("question", "sentence"), _ENTAILMENT, "QNLI.tsv"),
    _text("rte", _glue(*_PAIR), _ENTAILMENT, "RTE.tsv", hparams={"num_train_epochs": 10}),
    _text("wnli", _glue(*_PAIR), _BINARY, "WNLI.tsv"),
    _text("ax", _texts({"test": "diagnostic.tsv"}, *_PAIR), _NLI, "AX.tsv", ("mcc",), "mnli",
          model_of="mnli"),
    # Question answering
    _qa("squad", "{}.json", "squad_v2"),
    _qa("squadv1", "{}.json", "squad_v1"),
    *(_qa(name, "{}.jsonl", "mrqa") for name in ("newsqa", "naturalqs", "triviaqa", "searchqa")),
    # Tagging
    _tagging("chunk", "chunk", _files("{}.txt"), -1, "span_f1", hparams={"max_seq_length": 256}),
    _tagging("conll2002ner", "conll2002", _CONLL, -1, "span_f1", languages=_CONLL_LANGUAGES),
    _tagging("conll2002pos", "conll2002", _CONLL, 1, "accuracy", languages=_CONLL_LANGUAGES),
    # SELECTRA
    _text("xnli", _with_xtreme(train=("multinli.train.{language}.tsv", _XNLI_TRAIN),
                               dev=("xnli.dev.tsv", _XNLI), test=("xnli.test.tsv", _XNLI)),
          _NLI, label_aliases={"contradictory": "contradiction"}),
    _text("pawsx", _with_xtreme(train=("{language}/translated_train.tsv", "{language}/train.tsv",
                                       _PAWSX),  # English is not translated
                                dev=("{language}/dev_2k.tsv", _PAWSX),
                                test=("{language}/test_2k.tsv", _PAWSX)), _BINARY),
    # CLUE: JSON lines
    _text("afqmc", _clue(*_PAIR), _BINARY, "afqmc_predict.json"),
    _text("tnews", _clue("sentence"), _TNEWS, "tnews11_predict.json"),
    _text("iflytek", _clue("sentence"), tuple(map(str, range(119))), "iflytek_predict.json"),
    _text("cmnli", _clue(*_PAIR), _NLI, "cmnli_predict.json", skipped_labels=("-",)),
    _text("ocnli", _clue(*_PAIR), _NLI, "ocnli_50k_predict.json", skipped_labels=("-",)),
    _text("wsc", _clue("text", target="target"), ("true", "false"), "cluewsc11_predict.json",
          folder="cluewsc2020"),
    _text("csl", _clue("keyword", "abst"), _BINARY, "csl_predict.json",
          hparams={"max_seq_length": 256}),
)  # fmt: skip

TASKS = {row.name: row for row in _ROWS}

"""The data of a fine-tuning run: what is trained on, what is scored, and the plan of batches."""

import dataclasses
import functools
import json
import math

import numpy as np
from absl import logging

from electra.data import batches
from electra.finetune.dataset import Splits
from electra.finetune.families import FROM_FILES, FROM_TRAIN, get_family
from electra.finetune.featurize import HOST_FEATURES
from electra.finetune.readers import resolve_labels
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer


@dataclasses.dataclass(frozen=True)
class TaskSplit:
    """A split of a task, read and featurised.

    Attributes:
        name: the task's, with the split's own part (mnli_mismatched).
        task: Task; split: name of the split among its sources.
        examples: list; features: Features of them.
    """

    name: str
    task: object
    split: str
    examples: list
    features: object

    @property
    def inputs(self):
        """What a predictor takes."""
        return self.task, self.examples, self.features

    def score(self, predictions, qa_na_threshold):
        """Returns dict metric -> float of predictions that a family made."""
        family = get_family(self.task.family)
        return family.score(self.task, self.examples, predictions, qa_na_threshold)


class FinetuningData:
    """Reads and featurises what a config names.

    Args:
        config: FinetuningConfig.
        recorded: rows of the tasks as the model's folder has them, where labels are not looked up
            any more.
    Attributes:
        tasks: list of Task with their labels.
        tokenizer: WordPieceTokenizer.
        splits: electra.finetune.dataset.Splits.
        dev: list of TaskSplit; train: dict task -> Features.
    Raises:
        ValueError, FileNotFoundError: what the user can mend in a vocabulary or a task's files.
    """

    def __init__(self, config, recorded=()):
        self.config = config
        vocab = read_vocab(config.vocab_file)
        if not recorded or "vocab_file" in config.given:
            config.check_vocab(vocab)
        self.tokenizer = WordPieceTokenizer(vocab, config.do_lower_case, config.strip_accents)
        self.splits = Splits(
            config.raw_data_dir,
            config.preprocessed_data_dir,
            self.tokenizer,
            refresh=not config.use_tfrecords_if_existing,
            dev_fraction=config.dev_fraction if config.do_eval else 0.0,
            **config.values(
                "language", "double_unordered", "max_seq_length", "max_query_length", "doc_stride"
            ),
        )
        self._find_files()
        labels = {row["name"]: tuple(row["labels"]) for row in recorded}
        self.tasks = [
            dataclasses.replace(task, labels=labels[task.name])
            if task.labels in (FROM_TRAIN, FROM_FILES) and task.name in labels
            else resolve_labels(task, config.raw_data_dir, config.language)
            for task in config.tasks
        ]
        self.dev = self._read_dev() if config.do_eval else []
        self.train = self._read_train() if config.do_train else {}

    def described_tasks(self):
        """Returns the tasks' rows, labels included, as JSON values."""
        return json.loads(json.dumps([dataclasses.asdict(task) for task in self.tasks]))

    def digests(self):
        """Returns dict what is trained or scored on -> SHA-256 of its file."""
        files = {
            f"{task.name} train": (task, "train")
            for task in self.tasks
            if self.train or self.splits.holds_out(task)
        }
        files |= {f"{dev.task.name} {dev.split}": (dev.task, dev.split) for dev in self.dev}
        return {name: self.splits.digest(*file) for name, file in files.items()}

    def _find_files(self):
        """Looks for the files of all tasks before the first is read."""
        wanted = {"dev": self.config.do_eval, "train": self.config.do_train}
        for task in self.config.tasks:
            for split in (split for split, is_read in wanted.items() if is_read):
                self.splits.find(task, split)

    def _read_dev(self):
        """Reads what is scored: the dev split, and further ones that are there."""
        found = []
        for task in self.tasks:
            for split in ["dev", *(name for name in task.sources if name.startswith("dev_"))]:
                try:
                    examples = self.splits.examples(task, split)
                except FileNotFoundError as error:
                    if split == "dev":
                        raise
                    logging.info("%s. It is not scored", error)
                    continue
                if split == "dev" and self.splits.holds_out(task):
                    path, _ = self.splits.find(task, "dev")
                    logging.info(
                        "%s: no dev file: %d examples of %s are held out, to be scored on and not "
                        "learnt (dev_fraction %g)",
                        *(task.name, len(examples), path, self.config.dev_fraction),
                    )
                features = self.splits.features(task, split, examples)
                found.append(TaskSplit(task.name + split[3:], task, split, examples, features))
        return found

    def _read_train(self):
        found = {}
        for task in self.tasks:
            features = self.splits.features(task, "train")
            numbers = features.columns["example"]
            if self.config.max_train_examples is not None:
                order = np.random.default_rng(0).permutation(int(numbers[-1]) + 1)
                kept = order[: self.config.max_train_examples]
                features = features.take(np.flatnonzero(np.isin(numbers, kept)))
            found[task.name] = features
            if self.config.log_examples:
                tokens = self.tokenizer.vocab.tokens
                pieces = " ".join(tokens[i] for i in features.row(0)["input_ids"])
                logging.info("%s: %d features, the first: %s", task.name, len(features), pieces)
        return found

    # ---- batches ----

    @functools.cached_property
    def _lengths(self):
        """(lengths of all training features, lengths of batches)."""
        lengths = batches.joined_lengths(self.train)
        fewest = max(4 * self.config.train_batch_size, len(lengths) // 20)
        return lengths, batches.choose_lengths(lengths, self.config.max_seq_length, fewest)

    @functools.cached_property
    def _loss_counts(self):
        """(task of each training feature, how many losses its is the sum of)."""
        counts = [get_family(task.family).loss_counts(self.train[task.name]) for task in self.tasks]
        return np.repeat(np.arange(len(counts)), list(map(len, counts))), np.concatenate(counts)

    def loss_counts_at(self, seed, step):
        """Returns of how many losses of each task that of a trial's step is the sum: float (T,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = self._plan(seed, epoch)[place].rows
        tasks, counts = self._loss_counts
        return np.bincount(tasks[rows], counts[rows], minlength=len(self.tasks))

    @property
    def steps_per_epoch(self):
        return -(-len(self._lengths[0]) // self.config.train_batch_size)

    @property
    def num_train_steps(self):
        return max(1, round(self.steps_per_epoch * self.config.num_train_epochs))

    def batch_at(self, seed, step, most_lengths=math.inf):
        """Returns the batch of a step of the trial with a seed, as batches.padded makes it.

        Args:
            most_lengths: of all batches; fewer make the same batches with more padding.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        batch, lengths = self._plan(seed, epoch)[place], self._few_lengths(most_lengths)
        length = next(length for length in lengths if length >= batch.length)
        batch = dataclasses.replace(batch, length=length)
        return batches.padded(self.train, batch, leave=HOST_FEATURES)

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def _few_lengths(self, most):
        return batches.fewer_lengths(*self._lengths, most)

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _plan(self, seed, epoch):
        return batches.plan(*self._lengths, self.config.train_batch_size, order=(seed, epoch))

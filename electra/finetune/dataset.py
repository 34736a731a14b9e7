"""A split of a task as examples and features, the features from the cache where it has them."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from electra.data.features import cached, collect
from electra.finetune.families import FROM_FILES, FROM_TRAIN, get_family
from electra.finetune.featurize import featurize
from electra.finetune.held_out import choose_units
from electra.finetune.readers import find_file, read_examples
from electra.storage import file_digest

# The code that shapes features: a cache made by other code is stale.
_CODE = (
    "data/features.py",
    "finetune/families/**/*.py",
    "finetune/featurize.py",
    "finetune/files.py",
    "finetune/held_out.py",
    "finetune/readers.py",
    "finetune/spans.py",
    "text/wordpiece.py",
)


class Splits:
    """Reads and featurises the splits of tasks.

    Args:
        folder: str, finetuning_data.
        cache_folder: str, or None for no cache.
        tokenizer: electra.text.wordpiece.WordPieceTokenizer.
        language, double_unordered: as in readers.read_examples.
        refresh: bool, whether to make features anew that the cache has.
        dev_fraction: float, share of the training file that is the dev split of a task without
            one; 0: it has none.
        **sizes: max_seq_length, max_query_length, doc_stride, as in featurize.featurize.
    """

    def __init__(
        self,
        folder,
        cache_folder,
        tokenizer,
        *,
        language="es",
        double_unordered=True,
        refresh=False,
        dev_fraction=0.0,
        **sizes,
    ):
        self.folder, self.cache_folder, self.tokenizer = folder, cache_folder, tokenizer
        self.reading = {"language": language, "double_unordered": double_unordered}
        self.refresh, self.sizes, self.dev_fraction = refresh, sizes, dev_fraction

    def holds_out(self, task):
        """Whether the task's dev split is a part of its training file."""
        return bool(self.dev_fraction) and "train" in task.sources and "dev" not in task.sources

    def find(self, task, split):
        """Returns (path, Source) of a split; as readers.find_file."""
        is_part = split == "dev" and self.holds_out(task)
        return find_file(task, "train" if is_part else split, self.folder, self.reading["language"])

    def digest(self, task, split):
        """Returns the SHA-256 of a split's file, and how much of it is held out."""
        digest = file_digest(self.find(task, split)[0])
        is_cut = split == "train" and self.holds_out(task)
        return f"{digest} but for {self.dev_fraction:g}" if is_cut else digest

    def examples(self, task, split):
        """Returns the examples of a split; as readers.read_examples."""
        if split not in ("train", "dev") or not self.holds_out(task):
            return read_examples(task, split, self.folder, **self.reading)
        family, sources = get_family(task.family), task.sources
        both = dataclasses.replace(task, sources={**sources, "dev": sources["train"]})
        examples = read_examples(both, "train", self.folder, **self.reading)
        try:
            held_out = choose_units(family, examples, self.dev_fraction)
        except ValueError as error:
            raise ValueError(f"{self.find(task, split)[0]}: {error}") from None
        if split == "dev":
            examples = read_examples(both, "dev", self.folder, **self.reading)
        is_dev = split == "dev"
        return [each for each in examples if (family.unit_of(each) in held_out) == is_dev]

    def features(self, task, split, examples=None):
        """Returns the Features of a split.

        Args:
            task: Task with its labels resolved.
            split: str; the features of "train" are those to train on.
            examples: of the split, where they are at hand.
        Raises: as readers.read_examples and featurize.featurize.
        """
        if task.labels in (FROM_TRAIN, FROM_FILES):
            raise ValueError(f"Task {task.name!r}: resolve_labels comes before its features")

        def make():
            texts, is_training = examples or self.examples(task, split), split == "train"
            features = collect(
                featurize(task, texts, self.tokenizer, is_training=is_training, **self.sizes)
            )
            if not features.columns:
                path, _ = self.find(task, split)
                raise ValueError(f"{path}: all texts are empty. Expected: words. Mend the file")
            return features

        if self.cache_folder is None:
            return make()
        key = f"{task.name}_{split}_{self.key(task, split)}"
        return cached(self.cache_folder, key, make, self.refresh)

    def key(self, task, split):
        """Returns a digest of all that shapes the features of a split."""
        path, _ = self.find(task, split)
        basic = self.tokenizer.basic
        shaped_by = [
            dataclasses.asdict(task),
            split,
            path,
            file_digest(path),
            self.tokenizer.vocab.sha256,
            basic.do_lower_case,
            basic.strip_accents,
            self.reading,
            self.sizes,
            _code_digest(),
            *([self.dev_fraction] if self.holds_out(task) else []),
        ]
        text = json.dumps(shaped_by, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _code_digest():
    package = Path(__file__).parents[1]
    paths = [path for name in _CODE for path in sorted(package.glob(name))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

"""A split of a task as examples and features, the features from the cache where it has them."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from electra.data.features import cached, collect
from electra.finetune.families import FROM_FILES, FROM_TRAIN
from electra.finetune.featurize import featurize
from electra.finetune.readers import find_file, read_examples
from electra.storage import file_digest

# The code that shapes features: a cache made by other code is stale.
_CODE = (
    "data/features.py",
    "finetune/families/**/*.py",
    "finetune/featurize.py",
    "finetune/files.py",
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
        **sizes,
    ):
        self.folder, self.cache_folder, self.tokenizer = folder, cache_folder, tokenizer
        self.reading = {"language": language, "double_unordered": double_unordered}
        self.refresh, self.sizes = refresh, sizes

    def find(self, task, split):
        """Returns (path, Source) of a split; as readers.find_file."""
        return find_file(task, split, self.folder, self.reading["language"])

    def examples(self, task, split):
        """Returns the examples of a split; as readers.read_examples."""
        return read_examples(task, split, self.folder, **self.reading)

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
        ]
        text = json.dumps(shaped_by, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _code_digest():
    package = Path(__file__).parents[1]
    paths = [path for name in _CODE for path in sorted(package.glob(name))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

"""A model's folder: what travels with the model, and the lock that keeps it for one process."""

import contextlib
import os
import shutil

from electra.cloud import lease
from electra.hparams import damaged_record
from electra.storage import locked, parse_json_dict, published, write_json

# Hparams that a pre-trained model has fixed for all that is made of it.
MODEL_HPARAMS = (
    "model_size",
    "model_hparam_overrides",
    "embedding_size",
    "vocab_size",
    "do_lower_case",
    "strip_accents",
)
# Subfolders of a pre-trained model's, which are of the models that were fine-tuned from it.
OF_FINETUNING = ("finetuning_models", "finetuning_tfrecords", "test_predictions")
# Of hparams.json. Fine-tuning records its tasks, the digests of what a trial learns from, and how
# frequent its labels are.
_SOURCES = {str: [{"path": str, "columns": {str: (str, int)}}]}
_TASK = {"name": str, "family": str, "folder": str, "sources": _SOURCES, "metrics": [str]}
_SHAPE = {
    "tasks?": [{**_TASK, "labels": [str]}],
    "inputs?": {str: str},
    "label_priors?": {str: [float]},
    "phases?": [{"steps": int}],
}


class ModelFolder:
    """What a run of pre-training, or a trial of fine-tuning, recorded beside its checkpoints.

    Args:
        path: of the folder; nothing has to be there.
    Attributes:
        path: str.
        vocab_file: str, path of its vocabulary, which may be missing.
        hparams_file: str, path of its hparams, which may be missing.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self.vocab_file = os.path.join(self.path, "vocab.txt")
        self.hparams_file = os.path.join(self.path, "hparams.json")

    @classmethod
    def of(cls, checkpoint):
        """Returns the ModelFolder of a checkpoint: a file, TF1's prefix, or the folder itself."""
        return cls(checkpoint if os.path.isdir(checkpoint) else os.path.dirname(checkpoint))

    def recorded(self, *needed):
        """Returns the hparams of the run, as a dict; None where it left none, as TF1's.

        Args:
            needed: names that must be among them. "tasks" are those of fine-tuning.
        Raises:
            ValueError: they are damaged.
        """
        if not os.path.exists(self.hparams_file):
            return None
        with damaged_record(self.path), open(self.hparams_file, encoding="utf-8") as file:
            recorded = parse_json_dict(file.read(), "it", _SHAPE)
            if missing := [name for name in needed if name not in recorded]:
                raise ValueError(f"it lacks {', '.join(missing)}")
        return recorded


@contextlib.contextmanager
def locked_folder(folder, does_write):
    """Keeps other commands' training out of a model's folder; of a working copy also out of the
    bucket's, which is as the copy at the end.

    Args:
        folder: of a model.
        does_write: whether this process trains and saves; else nothing happens.
    """
    if not does_write:
        yield
        return
    advice = "Wait until that training ends, or choose another model_name or model_dir"
    with locked(folder, advice), lease.held(folder, OF_FINETUNING):
        yield


def write_folder(folder, hparams, vocab_file):
    """Writes hparams.json and vocab.txt, before step 0; a vocabulary that is there stays.

    Args:
        folder: made if missing.
        hparams: dict of JSON values.
        vocab_file: path.
    """
    of = ModelFolder(folder)
    write_json(of.hparams_file, hparams)
    if not os.path.exists(of.vocab_file):
        with open(vocab_file, "rb") as vocab, published(of.vocab_file) as file:
            shutil.copyfileobj(vocab, file)

"""What a trained model is: its folder or checkpoint enters, hparams, network and tokenizer leave.

A folder of a run names everything in hparams.json. A checkpoint of the official code comes alone:
its sizes are read from the shapes of its tensors.
"""

import contextlib
import dataclasses
import os

from electra.finetune.families import get_family
from electra.finetune.tasks import Source, Task
from electra.hparams import damaged_record, refuse_unknown
from electra.pretrain.config import PretrainingConfig
from electra.saving.folder import MODEL_HPARAMS, ModelFolder
from electra.saving.shapes import infer_hparams
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer

_NEEDED = ("model_size", "vocab_size", "max_seq_length", "do_lower_case")  # of a run's hparams


@dataclasses.dataclass(frozen=True)
class Opened:
    """A trained model, its weights not read yet.

    Attributes:
        path: what was opened.
        checkpoint: electra.saving.checkpoints.Checkpoint.
        config: PretrainingConfig, checked: of the run, of a fine-tuned model with the sizes only.
        tasks: dict name -> Task with its labels; empty for a pre-trained model.
        hparams: dict, as recorded or inferred.
        tokenizer: WordPieceTokenizer; tokenizer.vocab is the Vocabulary.
    """

    path: str
    checkpoint: object
    config: object
    tasks: dict
    hparams: dict
    tokenizer: WordPieceTokenizer

    def build(self, dtype):
        """Returns the network with the checkpoint's weights: PretrainingModel, FinetuningModel."""
        from electra.finetune.model import FinetuningModel
        from electra.pretrain.assembly import build_model
        from electra.saving import checkpoints

        if self.tasks:
            heads = {task.name: self._head(task) for task in self.tasks.values()}
            network = FinetuningModel(self.config.encoder, heads, dtype=dtype)
        else:
            network = build_model(self.config, self.tokenizer.vocab, dtype)
        variables = network.named_variables()
        if not self.has_heads:
            network.lm_head = None
            variables = {k: v for k, v in variables.items() if k.startswith("electra/")}
        checkpoints.restore(variables, self.checkpoint, require_all=True)
        return network

    @property
    def has_heads(self):
        """Whether it is more than an encoder, as a BERT converted without its head is."""
        names = self.checkpoint.tensors
        return self.config.objective != "mlm" or "generator_predictions/output_bias" in names

    def kind(self):
        """Returns what it is, in words for a message."""
        if self.tasks:
            return "a fine-tuned model"
        if not self.has_heads:
            return "an encoder without heads"
        names = {"electric": "Electric", "mlm": "a masked LM"}
        return names.get(self.config.objective, "a pre-trained model")

    def _head(self, task):
        return {"kind": task.family, **get_family(task.family).head_arguments(task, self.hparams)}


def checked(**hparams):
    """Returns hparams of pre-training as a dict; raises ValueError where one cannot be."""

    return {name: PretrainingConfig.fields[name].checked(name, v) for name, v in hparams.items()}


def open_model(path, vocab_file=None, hparams=None):
    """Opens a model.

    Args:
        path: folder of a run, pre-trained or a trial of a fine-tuned one; a checkpoint in it; or
            the prefix of a TF1 checkpoint, or a folder with one.
        vocab_file: None for vocab.txt beside the checkpoint.
        hparams: dict of hparams that win over the recorded ones; of a TF1 checkpoint what its
            shapes do not tell, such as {"do_lower_case": False}, or a number of heads other than
            one for 64 units.
    Returns: Opened.
    Raises:
        FileNotFoundError: nothing there, or no vocabulary. ValueError: something damaged, or that
            does not fit together, or an unknown hparam.
    """
    from electra.saving import checkpoints

    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"A model is opened by its path, a string. Received: {path!r:.80}")
    path = os.fspath(path)
    trials = os.path.join(path, "finetuning_models")
    if os.path.isdir(trials) and checkpoints.latest(path) is None:
        raise FileNotFoundError(
            f"{path} holds no checkpoint, but trials of a fine-tuned model. Name one of "
            f"{', '.join(sorted(os.listdir(trials))[:3])} in {trials}"
        )
    checkpoint = checkpoints.read(path)
    folder = ModelFolder.of(checkpoint.path)
    recorded = folder.recorded(*_NEEDED)
    if recorded is None:
        try:
            recorded = infer_hparams(checkpoint.tensors.shapes(), checkpoint.state)
        except (KeyError, IndexError):
            raise ValueError(
                f"{checkpoint.path} is no ELECTRA checkpoint: a tensor of electra/encoder or "
                "electra/embeddings is missing or misshapen. Expected: the official variable names"
            ) from None
    tasks = _tasks(recorded.get("tasks", []))
    refuse_unknown(hparams or {}, {**PretrainingConfig.fields, **recorded})
    for name, value in (hparams or {}).items():  # overrides add to those that are there
        both = type(value) is dict and type(recorded.get(name)) is dict
        recorded[name] = {**recorded[name], **value} if both else value
    known = {name: recorded[name] for name in PretrainingConfig.fields if name in recorded}
    known.pop("phases", None)  # a model is as they left it
    if tasks:  # of fine-tuning's own hparams only those of the network
        known = {name: known[name] for name in (*MODEL_HPARAMS, "max_seq_length") if name in known}
    is_as_recorded = os.path.exists(folder.hparams_file) and not hparams
    with damaged_record(folder.path) if is_as_recorded else contextlib.nullcontext():
        config = PretrainingConfig("model", folder.path, **known)
    vocab_file = vocab_file or folder.vocab_file
    vocab = read_vocab(vocab_file)
    if len(vocab) > config.vocab_size:
        raise ValueError(
            f"The vocabulary of {path} holds {len(vocab)} tokens, the model's word table "
            f"{config.vocab_size}. Give the vocabulary that the model was trained with"
        )
    checkpoint.check_vocab(vocab, vocab_file)
    tokenizer = WordPieceTokenizer(vocab, config.do_lower_case, config.strip_accents)
    return Opened(path, checkpoint, config, tasks, recorded, tokenizer)


def _tasks(rows):
    """Returns dict name -> Task of a fine-tuned model's recorded rows."""
    tasks = [_known(Task, row) for row in rows]
    return {
        task.name: dataclasses.replace(
            task,
            labels=tuple(task.labels),
            sources={
                split: tuple(_known(Source, source) for source in sources)
                for split, sources in task.sources.items()
            },
        )
        for task in tasks
    }


def _known(kind, row):
    """Makes a dataclass of a recorded row; another version may have recorded more."""
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in row.items() if name in fields})

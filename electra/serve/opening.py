"""What a trained model is: its folder or checkpoint enters, hparams, network and tokenizer leave.

A folder of a run names everything in hparams.json. A checkpoint of the official code comes alone:
its sizes are read from the shapes of its tensors.
"""

import contextlib
import dataclasses
import os
import re
from typing import Any

from electra.cloud import mirror
from electra.cloud.files import fetched
from electra.cloud.urls import working_copy
from electra.finetune.families import CLASSIFICATION, FAMILIES, QA, REGRESSION, TAGGING, get_family
from electra.finetune.tasks import TASKS, Source, Task
from electra.hparams import damaged_record, refuse_unknown
from electra.pretrain.config import PretrainingConfig
from electra.saving.folder import MODEL_HPARAMS, ModelFolder
from electra.saving.shapes import infer_hparams
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer

UNKNOWN_LABEL = "LABEL_0"
_TASK_BIAS = re.compile(r"task_specific/([^/]+)/dense/bias")
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
    checkpoint: Any
    config: Any
    tasks: dict[str, Task]
    hparams: dict[str, Any]
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
        path: folder of a run, pre-trained or a trial of a fine-tuned one; a checkpoint in it; the
            prefix of a TF1 checkpoint, or a folder with one; a folder of Hugging Face (a pair of
            them too), or a preset of KerasHub.
        vocab_file: None for vocab.txt beside the checkpoint.
        hparams: dict of hparams that win over the recorded ones; of a TF1 checkpoint what its
            shapes do not tell, such as {"do_lower_case": False}, a number of heads other than
            one for 64 units, or {"task_labels": {task: [label, ...]}} of a fine-tuned one.
    Returns: Opened.
    Raises:
        FileNotFoundError: nothing there, or no vocabulary. ValueError: something damaged, or that
            does not fit together, or an unknown hparam.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"A model is opened by its path, a string. Received: {path!r:.80}")
    path = working_copy(os.fspath(path))
    mirror.pull_model(path)
    checkpoint, recorded, vocab = _read(path)
    folder = ModelFolder.of(checkpoint.path)
    refuse_unknown(hparams or {}, {**PretrainingConfig.fields, **recorded})
    for name, value in (hparams or {}).items():  # overrides add to those that are there
        both = type(value) is dict and type(recorded.get(name)) is dict
        recorded[name] = {**recorded[name], **value} if both else value
    tasks = _tasks(recorded.get("tasks", []), recorded.get("task_labels", {}))
    known = {name: recorded[name] for name in PretrainingConfig.fields if name in recorded}
    of_run = ("phases", "init_checkpoint", "model_dir", "pretrain_tfrecords", "eval_tfrecords")
    for name in of_run:  # a model is as they left it
        known.pop(name, None)
    if tasks:  # of fine-tuning's own hparams only those of the network
        known = {name: known[name] for name in (*MODEL_HPARAMS, "max_seq_length") if name in known}
    is_as_recorded = os.path.exists(folder.hparams_file) and not hparams
    with damaged_record(folder.path) if is_as_recorded else contextlib.nullcontext():
        config = PretrainingConfig("model", folder.path, **known)
    vocab_file = fetched(vocab_file) if vocab_file else (path if vocab else folder.vocab_file)
    vocab = vocab if vocab_file == path else read_vocab(vocab_file)
    if len(vocab) > config.vocab_size:
        raise ValueError(
            f"The vocabulary of {path} holds {len(vocab)} tokens, the model's word table "
            f"{config.vocab_size}. Give the vocabulary that the model was trained with"
        )
    checkpoint.check_vocab(vocab, vocab_file)
    tokenizer = WordPieceTokenizer(vocab, config.do_lower_case, config.strip_accents)
    return Opened(path, checkpoint, config, tasks, recorded, tokenizer)


def _read(path):
    """Returns (Checkpoint, hparams as a dict, Vocabulary of another library's folder or None)."""
    from electra.convert import incoming
    from electra.saving import checkpoints

    if incoming.format_of(path) in incoming.FOREIGN:
        hparams, tensors, vocab = incoming.read(path)
        return incoming.as_checkpoint(path, tensors, vocab), hparams, vocab
    trials = os.path.join(path, "finetuning_models")
    if os.path.isdir(trials) and checkpoints.latest(path) is None:
        raise FileNotFoundError(
            f"{path} holds no checkpoint, but trials of a fine-tuned model. Name one of "
            f"{', '.join(sorted(os.listdir(trials))[:3])} in {trials}"
        )
    checkpoint = checkpoints.read(path)
    recorded = ModelFolder.of(checkpoint.path).recorded(*_NEEDED)
    if recorded is None:
        shapes = checkpoint.tensors.shapes()
        try:
            recorded = infer_hparams(shapes, checkpoint.state)
        except (KeyError, IndexError):
            raise ValueError(
                f"{checkpoint.path} is no ELECTRA checkpoint: a tensor of electra/encoder or "
                "electra/embeddings is missing or misshapen. Expected: the official variable names"
            ) from None
        except ValueError as error:
            raise ValueError(
                f"{checkpoint.path} is damaged: {error}. {checkpoints.GO_BACK}"
            ) from None
        recorded |= official_tasks(shapes)
    return checkpoint, recorded, None


def official_tasks(shapes):
    """Returns the hparams that say what a checkpoint of the official code was fine-tuned on.

    Its file has no labels. Those of a task of the table are known, unless its files tell them;
    others are called LABEL_0 and so on, as transformers does, and may be given as task_labels.

    Args:
        shapes: dict official name -> shape.
    Returns: dict; empty of a pre-trained model.
    """
    found = [match for name in shapes if (match := _TASK_BIAS.fullmatch(name))]
    rows, hparams, task_labels = [], {}, {}
    for match in found:
        name, count = match[1], shapes[match[0]][0]
        layers = {n.split("/")[2] for n in shapes if n.startswith(f"task_specific/{name}/")}
        usual = QA if "dense_1" in layers else CLASSIFICATION if count > 1 else REGRESSION
        row = TASKS.get(name)
        if row is None or (row.family == QA) != (usual == QA):
            row = Task(name, usual, "", {}, FAMILIES[usual].metrics[:1])
        if usual == QA:
            hparams["joint_prediction"] = "qa_hidden" in layers
            hparams["answerable_classifier"] = "dense_2" in layers
            hparams["answerable_uses_start_logits"] = "dense_3" in layers
        elif row.family != REGRESSION:
            is_known = not isinstance(row.labels, str) and len(row.labels) == count
            task_labels[name] = [*row.labels] if is_known else [f"LABEL_{i}" for i in range(count)]
        rows.append(dataclasses.asdict(dataclasses.replace(row, sources={}, labels=())))
    return {**hparams, "tasks": rows, "task_labels": task_labels} if rows else {}


def _tasks(rows, labels):
    """Returns dict name -> Task of a fine-tuned model's recorded rows; labels: dict name -> labels
    that win over theirs."""
    tasks = {}
    for row in rows:
        task = _known(Task, row)
        sources = {
            split: tuple(_known(Source, source) for source in sources)
            for split, sources in task.sources.items()
        }
        own = tuple(labels.get(task.name, task.labels))
        task = dataclasses.replace(task, labels=own, sources=sources)
        if task.family == TAGGING and UNKNOWN_LABEL in task.labels:  # these mark no spans
            task = dataclasses.replace(task, metrics=("accuracy",))
        tasks[task.name] = task
    return tasks


def _known(kind, row):
    """Makes a dataclass of a recorded row; another version may have recorded more."""
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in row.items() if name in fields})

"""What a trained model is: its folder or checkpoint enters, hparams, network and tokenizer leave.

A folder of a run names everything in hparams.json. A checkpoint of the official code comes alone:
its sizes are read from the shapes of its tensors.
"""

import dataclasses
import os
import re

from electra.finetune.defaults import OF_MODEL
from electra.finetune.families import family
from electra.finetune.tasks import Task
from electra.hparams import refuse_unknown
from electra.storage import read_json
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer

_NEEDED = ("model_size", "vocab_size", "max_seq_length", "do_lower_case")  # of a run's hparams
_LAYER = re.compile(r"electra/encoder/layer_(\d{1,4})/attention/self/query/kernel")


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
        checkpoints.restore(network.named_variables(), self.checkpoint, require_all=True)
        return network

    def _head(self, task):
        return {"kind": task.family, **family(task.family).head_arguments(task, self.hparams)}


def checked(**hparams):
    """Returns hparams of pre-training as a dict; raises ValueError where one cannot be."""
    from configure_pretraining import PretrainingConfig

    return {name: PretrainingConfig.knobs[name].checked(name, v) for name, v in hparams.items()}


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
    from configure_pretraining import PretrainingConfig
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
    folder = os.path.dirname(checkpoint.path)
    beside = os.path.join(folder, "hparams.json")
    if os.path.exists(beside):
        recorded = read_json(beside, "Copy it anew from the run")
        if missing := [name for name in _NEEDED if name not in recorded]:
            raise ValueError(
                f"{beside} lacks {', '.join(missing)}. Expected: the hparams of a run. Copy it anew"
            )
    else:
        try:
            recorded = _of_shapes(checkpoint)
        except (KeyError, IndexError):
            raise ValueError(
                f"{checkpoint.path} is no ELECTRA checkpoint: a tensor of electra/encoder or "
                "electra/embeddings is missing or misshapen. Expected: the official variable names"
            ) from None
    refuse_unknown(hparams or {}, {**PretrainingConfig.knobs, **recorded})
    for name, value in (hparams or {}).items():  # overrides add to those that are there
        both = type(value) is dict and type(recorded.get(name)) is dict
        recorded[name] = {**recorded[name], **value} if both else value
    tasks = _tasks(recorded.get("tasks", []), beside)
    known = {name: recorded[name] for name in PretrainingConfig.knobs if name in recorded}
    if tasks:  # of fine-tuning's own hparams only those of the network
        known = {name: known[name] for name in (*OF_MODEL, "max_seq_length") if name in known}
    try:
        config = PretrainingConfig("model", folder, **known)
    except ValueError as error:
        raise ValueError(f"{beside}: {error}. Copy it anew from the run") from None
    vocab_file = vocab_file or os.path.join(folder, "vocab.txt")
    vocab = read_vocab(vocab_file)
    if len(vocab) > config.vocab_size:
        raise ValueError(
            f"The vocabulary of {path} holds {len(vocab)} tokens, the model's word table "
            f"{config.vocab_size}. Give the vocabulary that the model was trained with"
        )
    checkpoint.check_vocab(vocab, vocab_file)
    tokenizer = WordPieceTokenizer(vocab, config.do_lower_case, config.strip_accents)
    return Opened(path, checkpoint, config, tasks, recorded, tokenizer)


def _tasks(rows, where):
    """Returns dict name -> Task of a fine-tuned model's recorded rows."""
    fields = {field.name for field in dataclasses.fields(Task)}
    try:
        found = [Task(**{k: v for k, v in row.items() if k in fields}) for row in rows]
        found = [dataclasses.replace(task, labels=tuple(task.labels)) for task in found]
        if not all(type(each) is str for task in found for each in (task.name, *task.labels)):
            raise TypeError("a name or label is no string")
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{where} is damaged: its tasks are no rows ({error})") from None
    return {task.name: task for task in found}


def _of_shapes(checkpoint):
    """Returns the hparams that the shapes of a checkpoint's tensors tell.

    Raises:
        KeyError, IndexError: a tensor is missing or misshapen.
    """
    from electra.saving.checkpoints import infer_generator_fractions

    shapes = checkpoint.tensors.shapes()
    layers = [found for name in shapes if (found := _LAYER.fullmatch(name))]
    words = shapes["electra/embeddings/word_embeddings"]
    hidden_size = shapes[layers[0].group()][0]
    hparams = {
        "vocab_size": words[0],
        "embedding_size": words[1],
        "electra_objective": "discriminator_predictions/dense/kernel" in shapes,
        # Two towers could be ELECTRA's too, but nobody trains that.
        "electric_objective": "generator_ltr/encoder/layer_0/intermediate/dense/kernel" in shapes,
        "model_hparam_overrides": {
            "hidden_size": hidden_size,
            "num_hidden_layers": 1 + max(int(found[1]) for found in layers),
            "intermediate_size": shapes["electra/encoder/layer_0/intermediate/dense/kernel"][1],
            "max_position_embeddings": shapes["electra/embeddings/position_embeddings"][0],
            "type_vocab_size": shapes["electra/embeddings/token_type_embeddings"][0],
        },
        "max_seq_length": shapes["electra/embeddings/position_embeddings"][0],
    }
    fractions = infer_generator_fractions(shapes)
    if fractions:
        hparams["generator_hidden_size"], hparams["generator_layers"] = map(float, fractions)
    elif hparams["electra_objective"]:
        has_head = any(name.startswith("generator_predictions/") for name in shapes)
        hparams["untied_generator" if has_head else "uniform_generator"] = not has_head
    hparams["untied_generator_embeddings"] = any(
        "generator" in name and "word_embeddings" in name for name in shapes
    )
    return hparams

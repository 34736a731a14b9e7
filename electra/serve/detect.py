"""Which tokens of a text look replaced? The trained discriminator's answer.

    python -m electra.serve.detect --model_dir D/models/M --text "A sentence." --text "Another."

Enters: a model's folder (hparams.json, vocab.txt, its newest checkpoint) and texts. Leaves: each
token with the probability that it is not the original one.
"""

import os
import sys
from pathlib import Path

import numpy as np
from absl import flags

from electra.hparams import Knob
from electra.model.config import encoder_config
from electra.storage import read_json
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer

BAR_WIDTH = 30
BATCH_SIZE = 32  # windows
_NEEDED = ("model_size", "vocab_size", "max_seq_length", "do_lower_case")  # of the run's hparams


def replaced_token_scores(model_dir, texts):
    """Scores every token of every text.

    Args:
        model_dir: folder of a run.
        texts: list of str. A text longer than the model's max_seq_length is cut into windows
            that do not see each other.
    Returns:
        list (texts) of list of (token, score): score is the probability, 0 to 1, of having been
        replaced, by a discriminator that met one replacement in about seven tokens.
    Raises:
        FileNotFoundError: hparams.json, vocab.txt or a checkpoint is missing.
        ValueError: the run has no discriminator of its own kind (masked LM, Electric), there is no
            text or one without tokens, or hparams.json is damaged or of another checkpoint.
    """
    if not texts:
        raise ValueError("There is no text to score. Give one or more with --text")
    hparams, config = _read_hparams(Path(model_dir))
    vocab = read_vocab(Path(model_dir) / "vocab.txt")
    if len(vocab) > config.vocab_size:
        raise ValueError(
            f"{Path(model_dir) / 'vocab.txt'} holds {len(vocab)} tokens, the model's word table "
            f"{config.vocab_size}. Put the vocabulary there that the model was trained with"
        )
    tokenizer = WordPieceTokenizer(vocab, hparams["do_lower_case"], hparams.get("strip_accents"))
    windows, owners = [], []
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text)
        if not ids:
            raise ValueError(f"Text {number} has no tokens. Received: {text!r}. Give some words")
        size = hparams["max_seq_length"] - 2
        for start in range(0, len(ids), size):
            windows.append(ids[start : start + size])
            owners.append(number)
    probs = _probabilities(Path(model_dir), config, vocab, windows, hparams["max_seq_length"])
    scores = [[] for _ in texts]
    for owner, window, row in zip(owners, windows, probs, strict=True):
        # Position 0 is [CLS].
        scores[owner] += [
            (vocab.tokens[id_], float(p)) for id_, p in zip(window, row[1:], strict=False)
        ]
    return scores


def pack(windows, vocab, length):
    """Lays windows out as the model reads them: [CLS] tokens [SEP], then padding.

    Args:
        windows: list of lists of ids, each at most length - 2 long.
        vocab: Vocabulary.
        length: L.
    Returns: dict of int32 (B, L): input_ids, input_mask, segment_ids.

    >>> pack([[7, 8]], vocab, 6)["input_ids"]  # with [PAD] 0, [CLS] 2, [SEP] 3
    array([[2, 7, 8, 3, 0, 0]], dtype=int32)
    """
    input_ids = np.full((len(windows), length), vocab.pad_id, np.int32)
    input_mask = np.zeros_like(input_ids)
    for row, mask, window in zip(input_ids, input_mask, windows, strict=True):
        ids = [vocab.cls_id, *window, vocab.sep_id]
        row[: len(ids)] = ids
        mask[: len(ids)] = 1
    segment_ids = np.zeros_like(input_ids)
    return {"input_ids": input_ids, "input_mask": input_mask, "segment_ids": segment_ids}


def format_scores(scores):
    """One line a token: the token, its probability, and a bar as long as that."""
    width = max(len(token) for token, _ in scores)
    return "\n".join(
        f"  {token:{width}}  {score:.3f}  {'#' * round(score * BAR_WIDTH)}".rstrip()
        for token, score in scores
    )


def _probabilities(model_dir, config, vocab, windows, length):
    """The discriminator's probabilities, float32 (B, L)."""
    from keras import ops

    from electra.model.encoder import ElectraEncoder
    from electra.model.heads import RTDHead
    from electra.train import checkpoints

    encoder, head = ElectraEncoder(config), RTDHead(config)
    encoder.build()
    head.build((None, None, config.hidden_size))
    variables = [*encoder.trainable_variables, *head.trainable_variables]
    checkpoint = checkpoints.read(model_dir)
    checkpoint.check_vocab(vocab, model_dir / "vocab.txt")
    checkpoints.restore({v.path: v for v in variables}, checkpoint, require_all=True)
    probs = []
    for start in range(0, len(windows), BATCH_SIZE):
        batch = pack(windows[start : start + BATCH_SIZE], vocab, length)
        probs.append(ops.convert_to_numpy(ops.sigmoid(head(encoder(batch)))))
    return np.concatenate(probs)


def _read_hparams(model_dir):
    """Returns the run's hparams and its discriminator's EncoderConfig, both checked."""
    path = model_dir / "hparams.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Expected: the folder of a run, D/models/M. Pre-train one "
            "with run_pretraining.py"
        )
    hparams = read_json(path, "Copy it anew from the run")
    if missing := [name for name in _NEEDED if name not in hparams]:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Expected: the hparams of a run. Copy it anew"
        )
    if hparams.get("electric_objective") or not hparams.get("electra_objective", True):
        kind = "Electric" if hparams.get("electric_objective") else "a masked LM"
        raise ValueError(
            f"{model_dir} holds {kind}: it has no discriminator that scores a text by itself. "
            "Expected: a run with electra_objective"
        )
    try:
        config = encoder_config(
            hparams["model_size"], vocab_size=hparams["vocab_size"],
            embedding_size=hparams.get("embedding_size"),
            overrides=hparams.get("model_hparam_overrides"),
        )  # fmt: skip
        for name, knob in {
            "max_seq_length": Knob(5, "", at_least=5, at_most=config.max_position_embeddings),
            "do_lower_case": Knob(True, ""),
            "strip_accents": Knob(None, "", kinds=(bool,)),
        }.items():
            knob.checked(name, hparams.get(name))
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Copy it anew from the run") from None
    return hparams, config


def _define_flags():
    flags.DEFINE_string("model_dir", None, "Folder of a run.", required=True)
    flags.DEFINE_multi_string("text", None, "A text; may be given several times.")


def main(_):
    """Prints the scores of each text."""
    from electra.door import import_tensorflow_quietly

    import_tensorflow_quietly()
    scores = replaced_token_scores(flags.FLAGS.model_dir, flags.FLAGS.text or [])
    try:
        for text, of_text in zip(flags.FLAGS.text, scores, strict=True):
            print(f"\n{text}\n{format_scores(of_text)}", flush=True)
    except BrokenPipeError:  # `| head`: nobody reads on, nor what Python flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    from electra.door import run_door

    _define_flags()
    run_door(main)

"""Tokenizer files of Hugging Face: written as ours was trained, read into a vocabulary of ours.

Enters: a WordPieceTokenizer, or a folder. Leaves: vocab.txt, tokenizer.json, tokenizer_config.json
and special_tokens_map.json, or tokens and the two flags of case and accents.
"""

import os

from absl import logging

from electra.features import SPECIAL_TOKENS
from electra.storage import check_shape, parse_json_dict, write_json
from electra.text.vocab import Vocabulary, read_vocab, write_vocab
from electra.text.wordpiece import MAX_WORD_CHARACTERS, SUFFIX, UNKNOWN

_FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_NAMES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
_LARGEST = 1 << 27  # bytes


def write_tokenizer(folder, tokenizer, max_seq_length):
    """Writes the tokenizer's files, from which AutoTokenizer makes the same word pieces.

    Args:
        folder: made if missing; tokenizer: WordPieceTokenizer; max_seq_length: tokens of a text.
    """
    vocab, basic = tokenizer.vocab, tokenizer.basic
    specials = dict(zip(_NAMES, SPECIAL_TOKENS, strict=True))
    flags = {"do_lower_case": basic.do_lower_case, "strip_accents": basic.strip_accents}
    about = {
        "tokenizer_class": "BertTokenizer",
        **flags,
        "tokenize_chinese_chars": True,
        "model_max_length": max_seq_length,
        **specials,
    }
    write_json(os.path.join(folder, _CONFIG), about)
    write_json(os.path.join(folder, "special_tokens_map.json"), specials)
    write_json(os.path.join(folder, _FILE), _pipeline(vocab, **flags))
    write_vocab(os.path.join(folder, "vocab.txt"), vocab.tokens)


def read_tokenizer(folder):
    """Reads the tokenizer of a folder; what a setting is not said takes BERT's default.

    Returns: (Vocabulary, do_lower_case, strip_accents).
    Raises:
        FileNotFoundError: no vocabulary. ValueError: a damaged file, or no WordPiece tokenizer.
    """
    whole = _read(folder, _FILE, {"model": dict})
    about = _read(folder, _CONFIG, {})
    path = os.path.join(folder, "vocab.txt")
    if os.path.exists(path):
        vocab = read_vocab(path)
    elif whole:
        path = os.path.join(folder, _FILE)
        vocab = Vocabulary(_tokens(whole["model"], path), path)
    else:
        raise FileNotFoundError(
            f"{folder} holds no vocabulary. Expected: vocab.txt or tokenizer.json beside the model"
        )
    normalizer = (whole or {}).get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        names = ("lowercase", "strip_accents", "handle_chinese_chars")
        said = {name: normalizer.get(name) for name in names}
    else:
        names = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
        said = {name: (about or {}).get(name) for name in names}
    known = {name: value for name, value in said.items() if value is not None}
    check_shape(known, dict.fromkeys(known, bool), f"{folder}: ", "the tokenizer")
    lower, accents, ideographs = said.values()
    if ideographs is False:
        logging.warning("%s leaves ideographs together; here each stands alone", folder)
    lower = True if lower is None else lower
    return vocab, lower, lower if accents is None else accents


def _pipeline(vocab, do_lower_case, strip_accents):
    """Returns tokenizer.json, in the terms of the library `tokenizers`."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}

    def token(name, type_id):
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    first = [token("[CLS]", 0), {"Sequence": {"id": "A", "type_id": 0}}, token("[SEP]", 0)]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, token("[SEP]", 1)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocab.ids[name], "content": name, **special, "special": True}
            for name in sorted(SPECIAL_TOKENS, key=vocab.ids.get)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": strip_accents,
            "lowercase": do_lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": first,
            "pair": first + second,
            "special_tokens": {
                name: {"id": name, "ids": [vocab.ids[name]], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": SUFFIX, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": SUFFIX,
            "max_input_chars_per_word": MAX_WORD_CHARACTERS,
            "vocab": vocab.ids,
        },
    }


def _tokens(model, path):
    """Returns the tokens of tokenizer.json's model in the order of their ids."""
    kind = model.get("type", "WordPiece")  # files of the first versions do not say
    if kind != "WordPiece" or model.get("continuing_subword_prefix", SUFFIX) != SUFFIX:
        raise ValueError(
            f"{path} is of a {kind!r:.40} tokenizer. Expected: WordPiece whose pieces inside a "
            f"word begin with {SUFFIX}, as BERT's and ELECTRA's"
        )
    check_shape(model, {"vocab": {str: int}}, f"{path}: ", "model")
    ids = model["vocab"]
    tokens = sorted(ids, key=ids.get)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"{path}: the ids of its {len(ids)} tokens are not 0, 1, 2, ...")
    if wrong := next((token for token in tokens if token != token.strip()), None):
        raise ValueError(
            f"{path}: token {wrong!r:.40} has white space, which vocab.txt cannot hold"
        )
    return tokens


def _read(folder, name, shape):
    """Returns a JSON file of the folder as a dict, None where there is none."""
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return None
    if os.path.getsize(path) > _LARGEST:
        raise ValueError(f"{path} is longer than {_LARGEST} bytes: no tokenizer is")
    with open(path, "rb") as file:
        data = file.read()
    try:
        return parse_json_dict(data.decode(), path, shape)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}). Copy it anew") from None

"""Corpora and vocabularies small enough to read, and what is in a folder of records."""

import glob
import json
import random
from pathlib import Path

import tensorflow as tf

from electra.features import RECORD_FEATURES, SPECIAL_TOKENS

WORDS = tuple("the a cat dog tree house river sees likes finds old red small and . ,".split())
TOKENS = (*SPECIAL_TOKENS, *WORDS)
PAD, UNK, CLS, SEP, MASK = range(5)


def write_vocab(folder, tokens=TOKENS):
    """Writes a vocabulary file. Returns its path."""
    path = Path(folder, "vocab.txt")
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return path


def write_files(folder, files):
    """Writes {path in folder: str or bytes}. Returns the folder."""
    for name, text in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def make_text(num_documents, seed=0):
    """Documents of 3 to 12 lines of 2 to 20 words, with blank lines between them."""
    rng = random.Random(seed)

    def line():
        return " ".join(rng.choices(WORDS, k=rng.randint(2, 20)))

    documents = ["\n".join(line() for _ in range(rng.randint(3, 12))) for _ in range(num_documents)]
    return "\n\n".join(documents) + "\n"


def encode(ids, mask=None, segments=None):
    """A record as TensorFlow itself encodes it."""
    values = dict(zip(RECORD_FEATURES, (ids, mask, segments), strict=True))
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        for name, value in values.items()
        if value is not None
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, rows, manifest=None):
    """Writes records of the given ids, unpadded ones first; a manifest beside them if given."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for ids in rows:
            writer.write(encode(ids, [int(i > 0) for i in ids], [0] * len(ids)))
    if manifest is not None:
        Path(path).with_name("manifest.json").write_text(json.dumps({"version": 1, **manifest}))
    return path


def parse(record):
    """A record as {feature: list of int}."""
    features = tf.train.Example.FromString(record).features.feature
    return {name: list(features[name].int64_list.value) for name in sorted(features)}


def read_examples(folder, name="pretrain_data"):
    """The examples of a folder in order, as TensorFlow itself reads them: list of dicts."""
    paths = glob.glob(f"{folder}/{name}.tfrecord-*")
    paths.sort(key=lambda path: int(path.rsplit("-", 3)[1]))
    return [parse(r) for path in paths for r in tf.data.TFRecordDataset(path).as_numpy_iterator()]


def read_files(folder):
    """The bytes of all files below a folder: {name: bytes}."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}

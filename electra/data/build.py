"""Builds the pre-training records of a corpus, in parallel and so that a killed build goes on.

The corpus is cut into units. A finished unit lies in `<output_dir>/.build` as two TFRecord files
(training, held-out) and a JSON; when all are there they are joined to the final files, and the
manifest is written last. Nothing depends on the number of processes. Uses tqdm for progress.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil

import numpy as np
import tqdm
from absl import logging

from electra.data import corpus
from electra.data.manifest import read_manifest, write_manifest
from electra.data.reader import index_file
from electra.hparams import write_json
from electra.text.vocab import read_vocab

WORK = ".build"
SPLITS = {"train": "pretrain_data", "eval": "eval_data"}
FILE_BYTES = 64 << 20  # size of an output file, if their number is not given
_LINES = 4096  # tokenised together


def build(
    corpus_dir, vocab_file, output_dir, *, max_seq_length=128, num_processes=1,
    blanks_separate_docs=True, do_lower_case=True, strip_accents=None, keep_long_lines=True,
    num_out_files=0, eval_fraction=0.0, seed=0, jsonl_field="text",
):  # fmt: skip
    """Builds records and their manifest in output_dir.

    Args:
        corpus_dir: see corpus.find_files. vocab_file: one token a line.
        max_seq_length: L, tokens of an example.
        num_processes: of this machine.
        blanks_separate_docs: whether a blank line ends a document.
        do_lower_case, strip_accents: of the tokens; strip_accents None is as do_lower_case.
        keep_long_lines: what does not fit an example goes on in the next one.
        num_out_files: training files; 0 chooses by size.
        eval_fraction: share of the documents that is held out.
        seed: of lengths, segments and held-out documents.
        jsonl_field: holds the text in .jsonl files.
    Returns: the manifest, a dict. A finished build with the same flags is left as it is.
    Raises:
        ValueError, FileNotFoundError: impossible flags, a corpus that cannot be read, another
            build in output_dir.
    """
    if strip_accents is None:
        strip_accents = do_lower_case
    vocab = read_vocab(vocab_file)
    flags = {
        "max_seq_length": max_seq_length, "blanks_separate_docs": blanks_separate_docs,
        "do_lower_case": do_lower_case, "strip_accents": strip_accents,
        "keep_long_lines": keep_long_lines, "num_out_files": num_out_files,
        "eval_fraction": eval_fraction, "seed": seed, "jsonl_field": jsonl_field,
    }  # fmt: skip
    _check(flags, num_processes)
    _check_folders(corpus_dir, output_dir)
    files = corpus.find_files(corpus_dir)
    identity = {"vocab_sha256": vocab.sha256, **flags, "corpus": _fingerprint(corpus_dir, files)}
    done = read_manifest(output_dir) if os.path.isdir(output_dir) else None
    if done is not None:
        _refuse_difference(done.get("identity", {}), identity, output_dir)
        shutil.rmtree(os.path.join(output_dir, WORK), ignore_errors=True)
        logging.info("%s is already built: nothing to do", output_dir)
        return done
    work = _open_work(output_dir, identity)
    units = corpus.cut_units(corpus_dir, files)
    _build_units(units, work, {"vocab_file": os.fspath(vocab_file), **flags}, num_processes)
    manifest = _join(units, work, output_dir, flags, vocab)
    write_manifest(output_dir, {**manifest, "identity": identity})
    shutil.rmtree(work)
    return read_manifest(output_dir)


def _check(flags, num_processes):
    def need(holds, name, expected, value):
        if not holds:
            raise ValueError(f"--{name} must be {expected}. Received: {value!r}")

    length, fraction = flags["max_seq_length"], flags["eval_fraction"]
    need(length >= 5, "max_seq_length", "at least 5", length)
    need(0 <= fraction < 1, "eval_fraction", "in [0, 1)", fraction)
    need(flags["num_out_files"] >= 0, "num_out_files", "0 or more", flags["num_out_files"])
    need(num_processes >= 1, "num_processes", "at least 1", num_processes)
    need(flags["seed"] >= 0, "seed", "0 or more", flags["seed"])


def _check_folders(corpus_dir, output_dir):
    inside = os.path.relpath(os.path.realpath(output_dir), os.path.realpath(corpus_dir))
    if not inside.startswith(".."):
        raise ValueError(
            f"--output_dir {output_dir} lies in --corpus_dir {corpus_dir}: its files would be read "
            "as text. Choose a folder outside"
        )
    if os.path.exists(output_dir) and not os.path.isdir(output_dir):
        raise ValueError(f"--output_dir {output_dir} is a file. Expected: a folder")


def _fingerprint(corpus_dir, files):
    """Returns a hash over names, sizes and times of the corpus's files."""
    digest = hashlib.sha256()
    for path in files:
        about = os.stat(path)
        name = os.path.relpath(path, corpus_dir)
        digest.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode("utf-8", "replace"))
    return digest.hexdigest()


def _refuse_difference(before, now, folder):
    differing = [name for name in now if before.get(name) != now[name]]
    if not differing:
        return
    shown = ", ".join(
        "the corpus's files" if name == "corpus" else
        f"{name} {before.get(name)!r} there, {now[name]!r} now" for name in differing
    )  # fmt: skip
    raise ValueError(
        f"{folder} holds a build that differs in: {shown}. Choose another --output_dir, or remove "
        "that folder to build anew"
    )


def _open_work(output_dir, identity):
    """Makes or re-opens the folder of unfinished work. Returns its path."""
    work = os.path.join(output_dir, WORK)
    state = os.path.join(work, "state.json")
    if os.path.exists(state):
        with open(state, encoding="utf-8") as file:
            _refuse_difference(json.load(file), identity, output_dir)
        return work
    strangers = [name for name in _listdir(output_dir) if ".tfrecord" in name]
    if strangers:
        raise ValueError(
            f"{output_dir} holds records without a manifest: {strangers[:3]}. Choose another "
            "--output_dir, or remove them"
        )
    os.makedirs(work, exist_ok=True)
    write_json(state, identity)
    return work


def _listdir(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


# ---- units --------------------------------------------------------------------------------------


def _build_units(units, work, options, num_processes):
    """Builds the units that are not there yet, with a progress bar in bytes."""
    todo = [i for i in range(len(units)) if not os.path.exists(_unit_path(work, i, "json"))]
    jobs = [(i, units[i], work, options) for i in todo]
    sizes = [unit.stop - unit.start for unit in units]
    processes = min(num_processes, len(jobs))
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm.tqdm(total=sum(sizes), unit="B", unit_scale=True, desc="building records",
                      dynamic_ncols=True, disable=None)
        )  # fmt: skip
        bar.update(sum(sizes) - sum(sizes[i] for i in todo))
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(processes, _use_one_thread))
            results = pool.imap_unordered(_build_unit, jobs)
        else:
            results = map(_build_unit, jobs)
        for i in results:
            bar.update(sizes[i])


def _use_one_thread():
    """In a worker: one TensorFlow thread, no GPU."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


_tokenizers = {}


def _tokenizer(options):
    """Returns this process's vocabulary and tokenizer."""
    key = (options["vocab_file"], options["do_lower_case"], options["strip_accents"])
    if key not in _tokenizers:
        from electra.text.fast import make_tokenizer

        vocab = read_vocab(options["vocab_file"])
        _tokenizers[key] = (
            vocab, make_tokenizer(vocab, options["do_lower_case"], options["strip_accents"])
        )  # fmt: skip
    return _tokenizers[key]


def _build_unit(job):
    """Builds one unit. Returns its number."""
    number, unit, work, options = job
    from electra.data.examples import ExampleBuilder
    from electra.data.records import RecordWriter

    vocab, tokenizer = _tokenizer(options)
    length, counts, builders = options["max_seq_length"], {"documents": 0}, {}
    with contextlib.ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            path = _unit_path(work, number, split) + ".tmp"
            writers[split] = stack.enter_context(RecordWriter(path, length))
            rng = random.Random(f"{options['seed']}/{unit.key}/{split}")
            builders[split] = ExampleBuilder(
                vocab.cls_id, vocab.sep_id, length, rng, options["keep_long_lines"]
            )
        for key, lines, ends in _tokenized(unit, tokenizer, options):
            split = "eval" if _is_held_out(key, options) else "train"
            builder, writer = builders[split], writers[split]
            for ids in lines:
                for example in builder.add_line(ids):
                    writer.write(builder, example)
            if ends:
                counts["documents"] += 1
                for example in builder.flush():
                    writer.write(builder, example)
        for split in SPLITS:  # a unit that ends within a document
            for example in builders[split].flush():
                writers[split].write(builders[split], example)
    for split in SPLITS:
        path = _unit_path(work, number, split)
        os.replace(path + ".tmp", path)
        counts[split] = writers[split].lengths
    write_json(_unit_path(work, number, "json"), counts)
    return number


def _tokenized(unit, tokenizer, options):
    """Yields (key, list of id arrays, ends) of the unit's documents, tokenised many at once."""

    def encode(pieces):
        ids, offsets = tokenizer.encode_lines([line for _, lines, _ in pieces for line in lines])
        borders, at = offsets.tolist(), 0
        for key, lines, ends in pieces:
            yield key, [ids[borders[i] : borders[i + 1]] for i in range(at, at + len(lines))], ends
            at += len(lines)

    pieces, waiting = [], 0
    documents = corpus.read_documents(
        unit, blanks_separate_docs=options["blanks_separate_docs"],
        jsonl_field=options["jsonl_field"],
    )  # fmt: skip
    for piece in documents:
        pieces.append(piece)
        waiting += len(piece[1])
        if waiting >= _LINES:
            yield from encode(pieces)
            pieces, waiting = [], 0
    yield from encode(pieces)


def _is_held_out(key, options):
    if not options["eval_fraction"]:
        return False
    digest = hashlib.blake2b(f"{options['seed']}/{key}".encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "little") < options["eval_fraction"] * 2**64


def _unit_path(work, number, kind):
    suffix = kind if kind == "json" else f"{kind}.tfrecord"
    return os.path.join(work, f"unit-{number:06d}.{suffix}")


# ---- joining ------------------------------------------------------------------------------------


def _join(units, work, output_dir, flags, vocab):
    """Joins the units' records to the final files. Returns the manifest."""
    documents, lengths = 0, {split: [] for split in SPLITS}
    for i in range(len(units)):
        with open(_unit_path(work, i, "json"), encoding="utf-8") as file:
            counts = json.load(file)
        documents += counts["documents"]
        for split in SPLITS:  # two bytes an example
            lengths[split].append(np.array(counts[split], np.uint16))
    lengths = {split: np.concatenate(parts) for split, parts in lengths.items()}
    if not len(lengths["train"]):
        raise ValueError("The corpus gives no training example. Is it empty, or held out whole?")
    if flags["eval_fraction"] and not len(lengths["eval"]):
        raise ValueError(
            f"--eval_fraction {flags['eval_fraction']} of {documents} documents leaves none to "
            "hold out. Raise it, or separate documents by blank lines"
        )
    files = []
    for split, name in SPLITS.items():
        if len(lengths[split]):
            paths = [_unit_path(work, i, split) for i in range(len(units))]
            number = flags["num_out_files"] if split == "train" else 0
            files += _join_split(paths, output_dir, name, lengths[split], number)
    return {
        "max_seq_length": flags["max_seq_length"],
        "vocab_sha256": vocab.sha256,
        "vocab_size": len(vocab),
        "do_lower_case": flags["do_lower_case"],
        "strip_accents": flags["strip_accents"],
        "seed": flags["seed"],
        "flags": flags,
        "files": files,
        **{f"{split}_examples": len(lengths[split]) for split in SPLITS},
        **{f"{split}_tokens": int(lengths[split].sum(dtype=np.int64)) for split in SPLITS},
        "documents": documents,
    }


def _join_split(paths, output_dir, name, lengths, number):
    """Writes the records of `paths` to `number` files of equal counts. Returns their entries."""
    if not number:
        number = max(1, round(sum(os.path.getsize(path) for path in paths) / FILE_BYTES))
    number = min(number, len(lengths))
    borders = [len(lengths) * i // number for i in range(number + 1)]
    names = [f"{name}.tfrecord-{i}-of-{number}" for i in range(number)]
    entries, chunks = [], _RecordChunks(paths)
    for file_name, start, stop in zip(names, borders, borders[1:], strict=False):
        path = os.path.join(output_dir, file_name)
        with open(path + ".tmp", "wb") as file:
            for chunk in chunks.take(stop - start):
                file.write(chunk)
        os.replace(path + ".tmp", path)
        tokens = int(lengths[start:stop].sum(dtype=np.int64))
        entries.append({"name": file_name, "examples": stop - start, "tokens": tokens})
    return entries


class _RecordChunks:
    """The records of several TFRecord files one after another, as bytes."""

    def __init__(self, paths):
        self._paths, self._at, self._bounds, self._data = iter(paths), 0, [0], b""

    def take(self, count):
        """Yields the bytes of the next `count` records."""
        while count:
            left = len(self._bounds) - 1 - self._at
            if not left:
                self._data, starts, _ = index_file(next(self._paths))
                self._bounds, self._at = [*(starts - 12).tolist(), len(self._data)], 0
                continue
            some = min(count, left)
            yield self._data[self._bounds[self._at] : self._bounds[self._at + some]]
            self._at += some
            count -= some

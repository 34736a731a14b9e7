"""Builds the pre-training records of a corpus, in parallel and so that a killed build goes on.

The corpus is cut into units. A finished unit lies in `<output_dir>/.build`: for training and for
held-out text a TFRecord file and the sizes of its records, and a JSON, written last. When all
units are there they are joined to the final files, and the manifest is written last. Nothing
depends on the number of processes. Uses tqdm for progress.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
from concurrent import futures

import tqdm
from absl import logging

from electra.data import corpus, join
from electra.data.manifest import MANIFEST_NAME, read_manifest, write_manifest
from electra.hparams import read_json, write_json
from electra.text.vocab import read_vocab

WORK = ".build"
SPLITS = {"train": "pretrain_data", "eval": "eval_data"}
_CHARACTERS = 1 << 19  # of lines that are tokenised together, at least


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
        _check_files(done, output_dir)
        shutil.rmtree(os.path.join(output_dir, WORK), ignore_errors=True)
        logging.info("%s is already built: nothing to do", output_dir)
        return done
    work = _open_work(output_dir, identity)
    whole_documents = eval_fraction > 0 and blanks_separate_docs
    units = corpus.cut_units(corpus_dir, files, whole_documents=whole_documents)
    options = {"vocab_file": os.fspath(vocab_file), "vocab_sha256": vocab.sha256, **flags}
    _build_units(units, work, options, num_processes)
    manifest = _join(len(units), work, output_dir, flags, vocab)
    write_manifest(work, {**manifest, "identity": identity})
    os.replace(os.path.join(work, MANIFEST_NAME), os.path.join(output_dir, MANIFEST_NAME))
    shutil.rmtree(work, ignore_errors=True)
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
    if inside.split(os.sep)[0] != os.pardir:
        raise ValueError(
            f"--output_dir {output_dir} lies in --corpus_dir {corpus_dir}: its files would be read "
            "as text. Choose a folder outside"
        )
    if not os.fspath(output_dir):
        raise ValueError("--output_dir must be a folder. Received: ''")
    if os.path.exists(output_dir) and not os.path.isdir(output_dir):
        raise ValueError(f"--output_dir {output_dir} is a file. Expected: a folder")


def _check_files(manifest, output_dir):
    names = [entry["name"] for entry in manifest["files"]]
    missing = [n for n in names if not os.path.exists(os.path.join(output_dir, n))]
    if missing:
        raise ValueError(
            f"{output_dir} lacks {missing[:3]}, which its {MANIFEST_NAME} names. Remove that "
            "folder to build anew"
        )


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
        before = read_json(state, f"Remove {work} to begin the build again")
        _refuse_difference(before, identity, output_dir)
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
    todo = [i for i in range(len(units)) if not _is_finished(work, i)]
    sizes = [sum(part.stop - part.start for part in unit) for unit in units]
    processes = min(num_processes, len(todo))
    numbers = _in_workers if processes > 1 else _in_this_process
    with tqdm.tqdm(total=sum(sizes), unit="B", unit_scale=True, desc="building records",
                   dynamic_ncols=True, disable=None) as bar:  # fmt: skip
        bar.update(sum(sizes) - sum(sizes[i] for i in todo))
        for i in numbers([(i, units[i], work, options) for i in todo], processes):
            bar.update(sizes[i])


def _in_this_process(jobs, _):
    return map(build_unit, jobs)


def _in_workers(jobs, processes):
    """Yields the numbers of the units as they are finished."""
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    pool = futures.ProcessPoolExecutor(processes, context, _prepare_worker)
    try:
        for done in futures.as_completed([pool.submit(build_unit, job) for job in jobs]):
            yield done.result()
    except futures.process.BrokenProcessPool:
        raise ValueError(
            "A worker process ended at once, perhaps for lack of memory. Run the same command "
            "again, it goes on from here; a smaller --num_processes needs less memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def use_one_thread():
    """Makes TensorFlow use one thread and no GPU; before its first operation."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def _prepare_worker():
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: end at once, the first process speaks

    def end_with_first_process():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_first_process, daemon=True).start()


def tokenizer_of(options):
    """Returns (Vocabulary, tokenizer), made once a process."""
    names = ("vocab_file", "vocab_sha256", "do_lower_case", "strip_accents")
    return _tokenizer(*(options[name] for name in names))


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab_file, vocab_sha256, do_lower_case, strip_accents):
    from electra.text.fast import make_tokenizer

    vocab = read_vocab(vocab_file)
    if vocab.sha256 != vocab_sha256:
        raise ValueError(f"{vocab_file} was changed during the build. Remove the build, start anew")
    return vocab, make_tokenizer(vocab, do_lower_case, strip_accents)


def build_unit(job):
    """Builds one unit. Returns its number."""
    number, unit, work, options = job
    from electra.data.examples import ExampleBuilder
    from electra.data.records import RecordWriter

    vocab, tokenizer = tokenizer_of(options)
    length, documents, builders, writers = options["max_seq_length"], 0, {}, {}
    # A worker of a killed build may still be at it: each process has files of its own.
    unfinished = f".{os.getpid()}.tmp"
    with contextlib.ExitStack() as stack:
        stack.push(functools.partial(_remove_unfinished, work, number, unfinished))
        for split in SPLITS:
            path = _unit_path(work, number, split) + unfinished
            writers[split] = stack.enter_context(RecordWriter(path, length))
            seed = f"{options['seed']}/{unit[0].key}/{split}"
            builders[split] = ExampleBuilder(
                vocab.cls_id, vocab.sep_id, length, random.Random(seed), options["keep_long_lines"]
            )
        for key, lines, ends in _tokenized(unit, tokenizer, options):
            split = "eval" if _is_held_out(key, options) else "train"
            builder, writer = builders[split], writers[split]
            for ids in lines:
                writer.write(builder.add_line(ids))
            if ends:
                documents += 1
                writer.write(builder.flush())
    for split in SPLITS:
        path = _unit_path(work, number, split)
        os.replace(path + unfinished + join.SIZES, path + join.SIZES)
        os.replace(path + unfinished, path)
    sizes = {split: os.path.getsize(_unit_path(work, number, split)) for split in SPLITS}
    write_json(_unit_path(work, number, "json"), {"documents": documents, "bytes": sizes})
    return number


def _remove_unfinished(work, number, unfinished, error, *_):
    if error is not None:  # on a full disk they would be in the way of the next try
        for split, beside in itertools.product(SPLITS, ("", join.SIZES)):
            with contextlib.suppress(OSError):
                os.remove(_unit_path(work, number, split) + unfinished + beside)


def _is_finished(work, number):
    """Returns whether a unit's files are there and as long as its JSON says."""
    try:
        promised = read_json(_unit_path(work, number, "json"), "")["bytes"]
        return all(
            os.path.getsize(_unit_path(work, number, split)) == promised[split]
            and join.count_bytes(_unit_path(work, number, split)) == promised[split]
            for split in SPLITS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _tokenized(unit, tokenizer, options):
    """Yields (key, list of id arrays, ends) of the unit's documents, tokenised many at once."""

    def encode(pieces):
        ids, offsets = tokenizer.encode_lines([line for _, lines, _ in pieces for line in lines])
        borders, at = offsets.tolist(), 0
        for key, lines, ends in pieces:
            yield key, [ids[borders[i] : borders[i + 1]] for i in range(at, at + len(lines))], ends
            at += len(lines)

    pieces, waiting = [], 0
    for part in unit:
        for piece in corpus.read_documents(
            part, blanks_separate_docs=options["blanks_separate_docs"],
            jsonl_field=options["jsonl_field"],
        ):  # fmt: skip
            pieces.append(piece)
            waiting += sum(map(len, piece[1]))
            if waiting >= _CHARACTERS:
                yield from encode(pieces)
                pieces, waiting = [], 0
    yield from encode(pieces)


def _is_held_out(key, options):
    if not options["eval_fraction"]:
        return False
    digest = hashlib.blake2b(f"{options['seed']}/{key}".encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "little") < options["eval_fraction"] * 2**64


def _unit_path(work, number, kind):
    return os.path.join(work, f"unit-{number:06d}.{kind}")


# ---- joining ------------------------------------------------------------------------------------


def _join(num_units, work, output_dir, flags, vocab):
    """Joins the units' records to the final files. Returns the manifest."""
    paths = {split: [_unit_path(work, i, split) for i in range(num_units)] for split in SPLITS}
    totals = {split: join.count_examples(paths[split]) for split in SPLITS}
    documents = 0
    for i in range(num_units):
        with open(_unit_path(work, i, "json"), encoding="utf-8") as file:
            documents += json.load(file)["documents"]
    if not totals["train"]:
        raise ValueError(
            f"The corpus gives no training example ({documents} documents, {totals['eval']} "
            f"held-out examples). Is it empty, or held out whole? Remove {output_dir} first"
        )
    if flags["eval_fraction"] and not totals["eval"]:
        raise ValueError(
            f"--eval_fraction {flags['eval_fraction']} of {documents} documents leaves none to "
            "hold out. Raise it, or separate documents by blank lines; remove "
            f"{output_dir} first"
        )
    files = {
        split: join.join_files(
            paths[split], work, output_dir, name, flags["num_out_files"] if split == "train" else 0
        )
        for split, name in SPLITS.items()
    }
    return {
        "max_seq_length": flags["max_seq_length"],
        "vocab_sha256": vocab.sha256,
        "vocab_size": len(vocab),
        "do_lower_case": flags["do_lower_case"],
        "strip_accents": flags["strip_accents"],
        "seed": flags["seed"],
        "flags": flags,
        "files": [entry for split in SPLITS for entry in files[split]],
        **{f"{s}_examples": totals[s] for s in SPLITS},
        **{f"{s}_tokens": sum(entry["tokens"] for entry in files[s]) for s in SPLITS},
        "documents": documents,
    }

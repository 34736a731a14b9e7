"""Builds the pre-training records of a corpus, in parallel and so that a killed build goes on.

The corpus is cut into units, which are built in `<output_dir>/.build` (see units.py). When all are
there they are joined to the final files, and the manifest is written last. Nothing depends on the
number of processes, nor on the tasks of a batch system that share the units on a common disk.
"""

import contextlib
import hashlib
import itertools
import os
import shutil

from absl import logging

from electra.cloud import lease, mirror
from electra.cloud.files import about, fetched, names_in, names_like
from electra.cloud.urls import is_url, normal, origin, working_copy
from electra.data import corpus, engines, join, units
from electra.data.index import INDEX_NAME, write_index
from electra.data.manifest import MANIFEST_NAME, read_manifest, write_manifest
from electra.hparams import Config, Field, is_text
from electra.storage import LockedError, locked, read_json, write_json
from electra.text.vocab import read_vocab

WORK = ".build"
NAMES = {"train": "pretrain_data", "eval": "eval_data"}  # of each split's files


class BuildFlags(Config):
    """What the records depend on beside corpus and vocabulary.

    Raises:
        ValueError: an unknown flag or an impossible value.
    """

    prefix = "--"

    max_seq_length = Field(128, "Tokens of an example.", at_least=5, at_most=2**20)
    blanks_separate_docs = Field(True, "A blank line ends a document.")
    do_lower_case = Field(True, "Lower-case the text.")
    strip_accents = Field(None, "Strip accents; by default as do_lower_case.", kinds=(bool,))
    keep_long_lines = Field(True, "Carry over what does not fit in an example.")
    num_out_files = Field(0, "Training files; 0 chooses by size, about 64 MB each.", at_least=0)
    eval_fraction = Field(0.0, "Share of the documents that is held out.", at_least=0, below=1)
    seed = Field(0, "Seed of example lengths, segments, held-out documents.", at_least=0)
    jsonl_field = Field("text", "Field of a .jsonl line that holds the text.")

    def __init__(self, **flags):
        self.fill(flags, {})
        if self.strip_accents is None:
            self.strip_accents = self.do_lower_case


_ANEW = "Remove that folder to build anew"
# How the work is shared out; the records stay the same.
SHARES = {
    **engines.FIELDS,
    "num_tasks": Field(
        1,
        "Tasks of a batch system that share the work, each this command with another --task_index, "
        "on a disk that all of them see. The last to finish joins their parts.",
        at_least=1,
        at_most=2**20,
    ),
    "task_index": Field(None, "Which task this is: 0 to num_tasks - 1.", kinds=(int,), at_least=0),
}


def build(corpus_dir, vocab_file, output_dir, *, num_tasks=1, task_index=None, **flags):
    """Builds records and their manifest in output_dir.

    Args:
        corpus_dir: see corpus.find_files. vocab_file: one token a line.
        num_tasks, task_index: as SHARES says.
        flags: those of engines.FIELDS and of BuildFlags.
    Returns: the manifest, a dict; None from a task that leaves units to others. A finished build
        with the same flags is left as it is.
    Raises:
        ValueError, FileNotFoundError: impossible flags, a corpus that cannot be read, another
            build in output_dir.
    """
    corpus_dir, vocab_file, output_dir = map(os.fspath, (corpus_dir, vocab_file, output_dir))
    how = {name: flags.pop(name, field.default) for name, field in engines.FIELDS.items()}
    flags, share = BuildFlags(**flags), {"num_tasks": num_tasks, "task_index": task_index}
    _check_share(share)
    engines.check(**how)
    is_ray = how["engine"] == "ray"
    _check_buckets(vocab_file, output_dir, is_ray, num_tasks)
    if is_ray:  # its workers have another working folder
        vocab_file, output_dir = os.path.abspath(vocab_file), os.path.abspath(output_dir)
        corpus_dir = corpus_dir if is_url(corpus_dir) else os.path.abspath(corpus_dir)
    vocab_file, output_dir = fetched(vocab_file), working_copy(output_dir)
    vocab = read_vocab(vocab_file)
    _check_folders(corpus_dir, output_dir)
    files = corpus.find_files(corpus_dir)
    identity = {
        "vocab_sha256": vocab.sha256,
        **flags.to_json(),
        "corpus": _fingerprint(corpus_dir, files),
    }
    work = os.path.join(output_dir, WORK)
    done = read_manifest(output_dir)
    if done is not None:
        _refuse_difference(done.get("identity", {}), identity, output_dir)
        _check_files(done, output_dir)
        shutil.rmtree(work, ignore_errors=True)
        logging.info("%s is already built: nothing to do", output_dir)
        return done
    with (
        lease.taken(output_dir),
        _open_work(work, identity, task_index),
        engines.opened(**how) as (compute, copy),
    ):
        whole_documents = flags.eval_fraction > 0 and flags.blanks_separate_docs
        parts = corpus.cut_units(corpus_dir, files, whole_documents=whole_documents)
        jobs = [(os.path.join(work, f"unit-{i:06d}"), unit) for i, unit in enumerate(parts)]
        options = {"vocab_file": vocab_file, "vocab_sha256": vocab.sha256, "flags": flags}
        units.build_units(jobs[task_index or 0 :: num_tasks], options, compute)
        folders = [folder for folder, _ in jobs]
        if task_index is not None and not _is_last(folders, output_dir, share):
            return read_manifest(output_dir)
        try:
            with locked(work, "", ".joining"):
                if read_manifest(output_dir) is None:
                    _finish(folders, work, output_dir, flags, vocab, identity, copy)
                shutil.rmtree(work, ignore_errors=True)
        except LockedError:
            logging.info("%s: another task joins the units", output_dir)
    return read_manifest(output_dir)


def _check_share(share):
    for name, value in share.items():
        SHARES[name].checked(f"--{name}", value)
    index, number = share["task_index"], share["num_tasks"]
    if (index is None and number > 1) or (index is not None and index >= number):
        raise ValueError(
            f"--task_index must be 0 to {number - 1}, with --num_tasks {number}. Received: {index}"
        )


def _is_last(folders, output_dir, share):
    """Returns whether all units are there, none is left to another task, and says so if not."""
    left = [i for i, folder in enumerate(folders) if not units.is_finished(folder)]
    if left and read_manifest(output_dir) is None:
        number = share["num_tasks"]
        logging.info(
            "%s: task %d of %d is done. %d of %d units are there, tasks %s have more to do; the "
            "last to finish joins them",
            output_dir,
            share["task_index"],
            number,
            len(folders) - len(left),
            len(folders),
            ", ".join(str(i) for i in sorted({i % number for i in left})),
        )
    return not left


def _finish(folders, work, output_dir, flags, vocab, identity, copy):
    """Joins the units and writes the manifest."""
    manifest = _join(folders, work, output_dir, flags, vocab, copy)
    write_manifest(work, {**manifest, "identity": identity})
    path = os.path.join(output_dir, MANIFEST_NAME)
    os.replace(os.path.join(work, MANIFEST_NAME), path)
    mirror.push_file(path)


def _check_buckets(vocab_file, output_dir, is_ray, num_tasks):
    """Refuses what several machines cannot do with a bucket. Raises: ValueError."""
    shared = {"--output_dir": output_dir, "--vocab_file": vocab_file if is_ray else ""}
    for name, path in shared.items():
        if is_url(path) and (is_ray or num_tasks > 1):
            raise ValueError(
                f"{name} {path}: --engine ray and --num_tasks need a folder on a disk that all "
                "machines see. Build there and copy it, or build on one machine with "
                "--num_processes; --corpus_dir may be a URL"
            )


def _check_folders(corpus_dir, output_dir):
    if is_url(corpus_dir):
        if f"{origin(output_dir)}/".startswith(f"{normal(corpus_dir)}/"):
            raise ValueError(
                f"--output_dir {origin(output_dir)} lies in --corpus_dir {corpus_dir}: its files "
                "would be read as text. Choose a folder outside"
            )
        return
    inside = os.path.relpath(os.path.realpath(output_dir), os.path.realpath(corpus_dir))
    if inside.split(os.sep)[0] != os.pardir:
        raise ValueError(
            f"--output_dir {output_dir} lies in --corpus_dir {corpus_dir}: its files would be read "
            "as text. Choose a folder outside"
        )
    if not output_dir or not is_text(output_dir):  # TensorFlow writes to no such path
        raise ValueError(f"--output_dir must be a folder's name in UTF-8. Received: {output_dir!r}")
    if os.path.isfile(output_dir):
        raise ValueError(f"--output_dir {output_dir} is a file. Expected: a folder")


def _check_files(manifest, output_dir):
    names = [entry["name"] for entry in manifest["files"]]
    here = set(names_in(origin(output_dir)))
    missing = [name for name in names if name not in here]
    if missing:
        raise ValueError(f"{output_dir} lacks {missing[:3]}, which its manifest names. {_ANEW}")


def _fingerprint(corpus_dir, files):
    """Returns a hash over names, sizes and times of the corpus's files."""
    digest = hashlib.sha256()
    for path in files:
        (size, version), name = about(path), corpus.name_in(corpus_dir, path)
        digest.update(f"{name}\0{size}\0{version}\0".encode("utf-8", "replace"))
    return digest.hexdigest()


def _refuse_difference(before, now, folder):
    differing = {
        name: f"{name} {before.get(name)!r} there, {value!r} now"
        for name, value in now.items()
        if before.get(name) != value
    }
    hashes = {"corpus": "the corpus's files", "vocab_sha256": "the vocabulary's tokens"}
    differing.update((name, hashes[name]) for name in differing.keys() & hashes)
    if differing:
        shown = ", ".join(differing.values())
        raise ValueError(
            f"{folder} holds a build that differs in: {shown}. Choose another --output_dir. {_ANEW}"
        )


@contextlib.contextmanager
def _open_work(work, identity, task_index):
    """Makes or re-opens the folder of unfinished work and keeps other builds out of it.

    Tasks share it; each has a lock of its own beside.
    """
    output_dir, state = os.path.dirname(work), os.path.join(work, "state.json")
    if os.path.islink(work):
        target = os.readlink(work)
        raise OSError(f"{work} is a link to {target!r}, to be overwritten. Remove the link")
    strangers = names_like("*.tfrecord*", origin(output_dir))
    if strangers and not os.path.exists(state) and read_manifest(output_dir) is None:
        raise ValueError(
            f"{output_dir} holds records without a manifest: {sorted(strangers)[:3]}. Choose "
            "another --output_dir, or remove them"
        )
    advice = "Wait for that build's end, or choose another --output_dir"
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(work, advice, shared=task_index is not None))
        if task_index is not None:
            advice = f"Task {task_index} runs already: wait for its end"
            stack.enter_context(locked(work, advice, f".task-{task_index}"))
        if os.path.exists(state):
            before = read_json(state, f"Remove {work} to begin the build again")
            # A corpus that was refused is mended: where no unit is finished, nothing is lost.
            if units.any_is_finished(work):
                _refuse_difference(before, identity, output_dir)
        write_json(state, identity)
        yield


def _join(folders, work, output_dir, flags, vocab, copy):
    """Joins the units' records to the final files. Returns the manifest."""
    paths = {split: [os.path.join(folder, split) for folder in folders] for split in NAMES}
    totals = {split: join.count_examples(paths[split]) for split in NAMES}
    documents = sum(map(units.count_documents, folders))
    if not totals["train"] or (flags.eval_fraction and not totals["eval"]):
        shutil.rmtree(work)  # or it would refuse other flags
        if not totals["train"]:
            raise ValueError(
                f"The corpus gives no training example ({documents} documents, {totals['eval']} "
                "held-out examples). Is it empty, or held out whole?"
            )
        raise ValueError(
            f"--eval_fraction {flags.eval_fraction} of {documents} documents leaves none to hold "
            "out. Raise it, or separate documents by blank lines"
        )
    numbers = {"train": flags.num_out_files, "eval": 0}
    files = {
        split: join.join_files(paths[split], work, output_dir, name, numbers[split], copy)
        for split, name in NAMES.items()
    }
    examples = {e["name"]: e["examples"] for split in NAMES for e in files[split]}
    parts = (join.offsets_of(paths[split], files[split]) for split in NAMES)
    write_index(output_dir, examples, itertools.chain.from_iterable(parts))
    mirror.push_file(os.path.join(output_dir, INDEX_NAME))
    return {
        "max_seq_length": flags.max_seq_length,
        "vocab_sha256": vocab.sha256,
        "vocab_size": len(vocab),
        "do_lower_case": flags.do_lower_case,
        "strip_accents": flags.strip_accents,
        "seed": flags.seed,
        "flags": flags.to_json(),
        "files": [entry for split in NAMES for entry in files[split]],
        **{f"{s}_examples": totals[s] for s in NAMES},
        **{f"{s}_tokens": sum(entry["tokens"] for entry in files[s]) for s in NAMES},
        "documents": documents,
    }

"""Builds the units of a corpus, each on its own, wherever an engine calls it.

A finished unit is a folder, renamed to its place when it is complete. It holds a TFRecord file for
training and one for held-out text, the sizes of their records, and a JSON. Units are not synced to
the disk: what a power cut loses is found by comparing files with their sizes.
"""

import contextlib
import functools
import hashlib
import os
import platform
import random
import shutil

from electra import console
from electra.cli import import_tensorflow_quietly
from electra.data import corpus, join
from electra.storage import read_json, write_json
from electra.text.vocab import read_vocab

SPLITS = ("train", "eval")
_CHARACTERS = 1 << 19  # of lines that are tokenised together, at least


def build_units(jobs, options, engine):
    """Builds the units that are not there yet, with a progress bar in bytes.

    Args:
        jobs: list of (folder, unit), see build_unit.
        options: arguments of build_unit.
        engine: see engines.py.
    """
    sizes = {folder: sum(part.stop - part.start for part in unit) for folder, unit in jobs}
    jobs = [job for job in jobs if not is_finished(job[0])]
    look = {"unit": "B", "unit_scale": True}
    with console.bar(total=sum(sizes.values()), desc="building records", **look) as bar:
        bar.update(bar.total - sum(sizes[folder] for folder, _ in jobs))
        with contextlib.closing(engine(build_unit, jobs, options)) as finished:
            for folder in finished:
                bar.update(sizes[folder])


@functools.lru_cache(maxsize=1)
def tokenizer_of(vocab_file, vocab_sha256, do_lower_case, strip_accents):
    """Returns (Vocabulary, tokenizer), made once a process."""
    from electra.text.fast import make_tokenizer

    vocab = read_vocab(vocab_file)
    if vocab.sha256 != vocab_sha256:
        raise ValueError(f"{vocab_file} was changed during the build. Remove the build, start anew")
    return vocab, make_tokenizer(vocab, do_lower_case, strip_accents)


def build_unit(folder, unit, **options):
    """Builds one unit.

    Args:
        folder: where it is when it is finished.
        unit: list of corpus.Part.
        options: vocab_file, vocab_sha256, flags (build.BuildFlags).
    Returns: folder.
    """
    # A worker of a killed build or of a node given up as lost may still be writing, so each process
    # has a folder of its own. One that is there was left by a dead process (in containers ids come
    # again); a link is refused.
    unfinished = f"{folder}.{platform.node()}-{os.getpid()}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.makedirs(unfinished)
    try:
        documents = _write_unit(unfinished, unit, **options)
        write_json(os.path.join(unfinished, "about.json"), {"documents": documents})
        if is_finished(folder):  # by such a worker; it may be read already
            shutil.rmtree(unfinished)
            return folder
        if os.path.exists(folder):  # a damaged one
            shutil.rmtree(folder)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # on a full disk it would be in the way
        raise
    return folder


def _write_unit(folder, unit, vocab_file, vocab_sha256, flags):
    """Writes a unit's records. Returns the number of its documents."""
    import_tensorflow_quietly()
    from electra.data.examples import ExampleBuilder
    from electra.data.records import RecordWriter

    case = flags.do_lower_case, flags.strip_accents
    vocab, tokenizer = tokenizer_of(vocab_file, vocab_sha256, *case)
    length, documents, builders, writers = flags.max_seq_length, 0, {}, {}
    with contextlib.ExitStack() as stack:
        for split in SPLITS:
            writers[split] = stack.enter_context(RecordWriter(os.path.join(folder, split), length))
            rng = random.Random(f"{flags.seed}/{unit[0].key}/{split}")
            builders[split] = ExampleBuilder(
                vocab.cls_id, vocab.sep_id, length, rng, flags.keep_long_lines
            )
        for key, lines, ends in _tokenized(unit, tokenizer, flags):
            split = "eval" if _is_held_out(key, flags) else "train"
            builder, writer = builders[split], writers[split]
            for ids in lines:
                writer.write(builder.add_line(ids))
            if ends:
                documents += 1
                writer.write(builder.flush())
    return documents


def is_finished(folder):
    """Returns whether a unit's files are there and as long as their sizes say."""
    try:
        paths = [os.path.join(folder, split) for split in SPLITS]
        is_whole = all(os.path.getsize(path) == join.count_bytes(path) for path in paths)
        return is_whole and count_documents(folder) >= 0
    except (OSError, ValueError):
        return False


def any_is_finished(work):
    """Returns whether a folder of units holds one that is finished."""
    return any(is_finished(entry.path) for entry in os.scandir(work) if entry.is_dir())


def count_documents(folder):
    """Returns the number of documents of a finished unit."""
    about = read_json(os.path.join(folder, "about.json"), "Remove it", {"documents": int})
    return about["documents"]


def _tokenized(unit, tokenizer, flags):
    """Yields (key, list of id arrays, ends) of the unit's documents, tokenised many at once."""

    def encode(pieces):
        ids, offsets = tokenizer.encode_lines([line for _, lines, _ in pieces for line in lines])
        borders, at = offsets.tolist(), 0
        for key, lines, ends in pieces:
            yield key, [ids[borders[i] : borders[i + 1]] for i in range(at, at + len(lines))], ends
            at += len(lines)

    pieces, waiting = [], 0
    separate, field = flags.blanks_separate_docs, flags.jsonl_field
    for part in unit:
        for piece in corpus.read_documents(part, blanks_separate_docs=separate, jsonl_field=field):
            pieces.append(piece)
            waiting += 1 + len(piece[1]) + sum(map(len, piece[1]))  # memory of what is empty too
            if waiting >= _CHARACTERS:
                yield from encode(pieces)
                pieces, waiting = [], 0
    yield from encode(pieces)


def _is_held_out(key, flags):
    if not flags.eval_fraction:
        return False
    digest = hashlib.blake2b(f"{flags.seed}/{key}".encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "little") < flags.eval_fraction * 2**64

"""A text corpus that every installation already has: the documentation of its Python packages.

Enters: the .py sources of the standard library and of the packages this project installs. They
are read with `ast` and never imported. Leaves: `<out>/<package>.txt`, one paragraph of English
prose a line, one blank line between modules (a module is a document, so that a share of whole
modules can be held out by `build_pretraining_dataset.py --eval_fraction`).

A paragraph is written once, whatever its case, digits and punctuation: the held-out modules then
share no paragraph with the others. Code, doctests, tables, signatures and licence texts go.

    python examples/docstring_corpus.py --out data/corpus
"""

import argparse
import ast
import importlib.metadata
import importlib.util
import inspect
import json
import multiprocessing
import os
import platform
import re
import shutil
import sysconfig
import warnings
from pathlib import Path

from tqdm import tqdm

# Import names; all are installed with this project. The order matters: the first package that
# holds a paragraph keeps it.
PACKAGES = (
    "stdlib",
    "keras",
    "numpy",
    "tensorflow",
    "keras_hub",
    "tensorflow_text",
    "tensorboard",
    "huggingface_hub",
    "absl",
)
RULES = 2  # raise it when what is written changes

MADE_FROM = ".made_from.json"
TEST_FOLDERS = {"test", "tests", "testdata", "idle_test", "site-packages", "dist-packages"}
LICENCE = re.compile(
    r"copyright|licensed under|all rights reserved|permission (is|to use)|without warrant"
    r"|redistribution and use|as is\b.*\bwarrant",
    re.IGNORECASE,
)
# Words that every English paragraph has and lists of names or numbers do not.
FUNCTION_WORDS = frozenset(
    "a an and are as at be been but by can do does for from has have if in into is it its may must"
    " no not of on only or should so such than that the their them then there these they this to"
    " use used was were when where which will with would you your".split()
)
CODE = re.compile(r"^[=<>|%$@]|[{}\\]|[^=!<>]==[^=]|\w\(.*\).*\w\(|\w=\w")
PROSE_SHARE = 0.8  # of a paragraph's characters are letters or spaces
FUNCTION_WORD_SHARE = 0.22  # of a paragraph's words are in FUNCTION_WORDS
MIN_WORDS = 6

# What to put in place of what, so that blank lines part paragraphs and nothing else is left.
BLOCKS = [
    (r"^ *(```|~~~)(?:.|\n)*?(?:\n *\1.*|\Z)", "\n"),  # fenced code
    (r"^ *(?:>>>|\.\.\. |In \[\d+\])(?:.*\S.*\n?)*", "\n"),  # a doctest and its output
    (r"^( *)(.*):: *\n(?:\1 +.*\n?| *\n)*", r"\1\2:\n\n"),  # what is deeper than a "::"
    (r"^.*\n *([-=~^*#+_\"'.])\1{2,} *$", "\n"),  # a title, and its underline
    # directives and tables; "x : array_like", "Args:", columns
    (r"^ *(?:\.\. |\||\+[-=]|[-=]{2,} +[-=]{2,}).*$", "\n"),
    (r"^ *(?:[*\w][\w*, .]* : |[A-Z][\w ]{0,30}: *$|\S.* {4}).*$", "\n"),
    (r"^ *(?:[*+•-]|\(?\d{1,2}[.)]|#+) +", "\n\n"),  # bullets and headings
    # "name: what it is", "name (type): what it is", ":param name: what it is"
    (r"^ *(?::\w+(?: [\w.]+)*:|[*`]*[a-z_]\w*`?(?: ?\([^)\n]*\))?:)(?: +|$)", "\n\n"),
]
# Leaves of all mark-up one backtick on each side of code.
MARKS = [
    (r":[a-z:]+:`~?\.?([^`<]*?)(\s*<[^`>]*>)?`", r"`\1`"),  # roles
    (r"\[([^\]]+)\]\([^)]*\)", r"\1"),  # links
    (r"<?(https?|ftp)://[^\s>)]*[>)]?", ""),
    (r"``", "`"),
    (r"`([^`]*)`_?", r"`\1`"),
    (r"(?<![\w*])\*{1,2}([^*\s][^*]*?)\*{1,2}(?![\w*])", r"\1"),  # emphasis
]


def main(argv=None):
    """Writes the corpus, unless it is there."""
    out = run_command(argv, __doc__, PACKAGES, RULES, write_corpus)
    for path in sorted(out.glob("*.txt")):
        print(f"{path.name:24}{path.stat().st_size:12,} bytes of prose")


def run_command(argv, doc, packages, rules, write):
    """Makes the folder of --out, from --packages; see make_folder. Returns: Path."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--packages", nargs="+", default=packages, help="import names, or stdlib")
    args = parser.parse_args(argv)
    try:
        make_folder(args.out, args.packages, rules, write)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args.out


def make_folder(out, packages, rules, write):
    """Makes a folder from installed packages, unless the same one is there.

    Args:
        out: Path; the folder appears as a whole, and says in a hidden file what it was made from.
        packages: import names, or "stdlib".
        rules: int, the number of the rules after which `write` works.
        write: called with an empty folder and `packages`.
    Raises:
        ValueError: `out` holds something else; the difference is named.
    """
    distributions = importlib.metadata.packages_distributions()
    made_from = {"rules": rules}
    for package in packages:
        names = distributions.get(package)
        version = importlib.metadata.version(names[0]) if names else platform.python_version()
        made_from[package] = version
    if out.is_dir() and any(out.iterdir()):
        record = out / MADE_FROM
        recorded = json.loads(record.read_text()) if record.exists() else {}
        changes = [
            f"{name} {recorded.get(name, 'missing')} instead of {made_from.get(name, 'nothing')}"
            for name in {**made_from, **recorded}
            if recorded.get(name) != made_from.get(name)
        ]
        if changes:
            raise ValueError(
                f"{out} was made from something else: {', '.join(changes)}. Remove the folder, or "
                "choose another."
            )
        return
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial, packages)
    (partial / MADE_FROM).write_text(json.dumps(made_from))
    os.replace(partial, out)


def write_corpus(folder, packages):
    """Writes a text file a package."""
    files = {package: [] for package in packages}
    seen = set()
    for package, _, paragraphs in read_modules(packages, module_paragraphs):
        fresh = [text for text in paragraphs if is_new(text, seen)]
        if fresh:
            files[package].append("\n".join(fresh) + "\n")
    for package, documents in files.items():
        (folder / f"{package}.txt").write_text("\n".join(documents), encoding="utf-8")


def read_modules(packages, extract):
    """Reads the sources of packages, in the order of their paths, without folders of tests.

    Args:
        packages: import names, or "stdlib".
        extract: function of a module, called with the path of a source in another process.
    Yields: (package, path below its folder, what `extract` returned).
    Raises:
        ValueError: a package is not installed.
    """
    modules = []
    for package in packages:
        root = package_root(package)
        paths = [path.relative_to(root) for path in root.rglob("*.py")]
        modules += [
            (package, path.as_posix(), root / path)
            for path in sorted(paths, key=Path.as_posix)
            if not TEST_FOLDERS.intersection(path.parts)
        ]
    with multiprocessing.get_context("spawn").Pool() as pool:
        results = pool.imap(extract, [path for *_, path in modules], chunksize=16)
        bar = tqdm(results, desc="reading sources", total=len(modules), unit="file")
        for (package, name, _), result in zip(modules, bar, strict=True):
            yield package, name, result


def package_root(package):
    """The folder that holds a package's sources. Raises ValueError when it is not installed."""
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"Package '{package}' is not installed. Known: {', '.join(PACKAGES)}.")
    return Path(spec.submodule_search_locations[0])


def module_paragraphs(path):
    """The prose of a module, without marks of code, as a list of str."""
    return [
        paragraph.replace("`", "")
        for text in documentation_strings(path)
        for paragraph in prose_paragraphs(text)
    ]


def documentation_strings(path):
    """The documentation strings of a module, in the order of its source.

    These are docstrings, and other strings of several lines (numpy and pydoc document compiled
    objects and the language that way).

    Args:
        path: of a .py file.
    Returns: list of str, without their indentation; empty where the source cannot be parsed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's sources
            nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):
        return []
    statements = {node.value for node in nodes if isinstance(node, ast.Expr)}
    templates = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    constants = [
        node
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (node in statements or "\n" in node.value)
        and node not in templates
    ]
    constants.sort(key=lambda node: (node.lineno, node.col_offset))
    return [inspect.cleandoc(node.value) for node in constants]


def prose_paragraphs(text):
    """The paragraphs of English prose in a documentation string.

    Returns:
        list of str, each one line, without code blocks, tables and headings; the only mark-up left
        is a backtick on each side of code.
    """
    for pattern, replacement in BLOCKS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    paragraphs = map(without_marks, re.split(r"\n\s*\n", text))
    return [paragraph for paragraph in paragraphs if is_prose(paragraph.replace("`", ""))]


def without_marks(text):
    """One line without mark-up, but for a backtick on each side of code."""
    text = " ".join(text.split())
    for pattern, replacement in MARKS:
        text = re.sub(pattern, replacement, text)
    return " ".join(text.split())


def is_prose(paragraph):
    """True for a line that reads as English: words rather than code, names or numbers."""
    words = re.findall(r"[A-Za-z]+(?:'[a-z]+)?", paragraph)
    if len(words) < MIN_WORDS or not paragraph.isascii():
        return False
    if LICENCE.search(paragraph) or CODE.search(paragraph):
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    common = sum(word.lower() in FUNCTION_WORDS for word in words)
    return letters >= PROSE_SHARE * len(paragraph) and common >= FUNCTION_WORD_SHARE * len(words)


def is_new(text, seen):
    """True if a set of keys has none of the text yet; it has from now on."""
    key = re.sub(r"[^a-z]", "", text.lower())
    known = key in seen
    seen.add(key)
    return not known


if __name__ == "__main__":
    main()

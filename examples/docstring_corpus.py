"""A text corpus that every installation already has: the documentation of its Python packages.

Enters: the .py sources of the standard library and of the packages this project installs. They
are read with `ast` and never imported. Leaves: `<out>/<package>.txt`, one paragraph of English
prose a line, one blank line between modules (a module is a document, so that a share of whole
modules can be held out by `build_pretraining_dataset.py --eval_fraction`), and `<out>.json`,
which says which versions were read and what was kept.

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
import os
import re
import shutil
import sys
import sysconfig
import warnings
from pathlib import Path

from tqdm import tqdm

# Import name -> distribution; all are installed with this project. The order matters: the first
# package that holds a paragraph keeps it.
PACKAGES = {
    "stdlib": None,
    "keras": "keras",
    "numpy": "numpy",
    "tensorflow": "tensorflow",
    "keras_hub": "keras-hub",
    "tensorflow_text": "tensorflow-text",
    "tensorboard": "tensorboard",
    "huggingface_hub": "huggingface-hub",
    "absl": "absl-py",
}
CLEANING = 1  # raise it when the rules below change what is written

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

FENCE = re.compile(r"^\s*(```|~~~)")
DOCTEST = re.compile(r"^\s*(>>>|\.\.\. |In \[\d+\])")
DIRECTIVE = re.compile(r"^\s*\.\. ")
RULE = re.compile(r"^\s*([-=~^*#+_\"'.])\1{2,}\s*$")
TABLE = re.compile(r"^\s*(\||\+[-=]|[-=]{2,}\s+[-=]{2,})")
BULLET = re.compile(r"^\s*([*+•-]|\(?\d{1,2}[.)]|#+)\s+")
TYPED_PARAMETER = re.compile(r"^\s*[*\w][\w*, .]* : ")  # numpy style: "x : array_like"
# Google style "name: what it is" and Sphinx style ":param name: what it is".
NAMED_PARAMETER = re.compile(r"^\s*(:\w+( [\w.]+)*:|[*`]*[a-z_]\w*`?( ?\([^)]*\))?:)(\s+|$)")
SECTION = re.compile(r"^\s*[A-Z][\w ]{0,30}:\s*$")  # "Args:", "Raises:", "Call arguments:"
COLUMNS = re.compile(r"^\s*\S.* {4}")
SEPARATORS = (RULE, DIRECTIVE, TABLE, TYPED_PARAMETER, SECTION, COLUMNS)
CODE = re.compile(r"^[=<>|%$@]|[{}\\]|[^=!<>]==[^=]|\w\(.*\).*\w\(|\w=\w")

PROSE_SHARE = 0.8  # of a paragraph's characters are letters or spaces
FUNCTION_WORD_SHARE = 0.22  # of a paragraph's words are in FUNCTION_WORDS
MIN_WORDS = 6


def main(argv=None):
    """Writes the corpus, or says that the one that is there is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the text files")
    parser.add_argument(
        "--packages", nargs="+", default=list(PACKAGES), help="import names, or stdlib"
    )
    args = parser.parse_args(argv)
    try:
        record = write_corpus(args.out, args.packages)
    except ValueError as error:
        parser.error(str(error))
    for package, about in record["packages"].items():
        print(
            f"{package:16} {about['version']:8} {about['modules']:6,} modules "
            f"{about['characters']:10,} characters"
        )
    print(f"{record['characters']:,} characters of prose in {args.out}")


def write_corpus(out, packages=tuple(PACKAGES)):
    """Extracts the corpus into a folder, unless the same one is there already.

    Args:
      out: folder to write; it appears as a whole, and an older corpus there is replaced.
      packages: import names of installed packages, or "stdlib".

    Returns:
      dict: what `<out>.json` holds.

    Raises:
      ValueError: a package is not installed, or `out` holds something that is not a corpus.
    """
    out = Path(out)
    about = out.with_name(out.name + ".json")
    roots = {package: package_root(package) for package in packages}
    versions = {package: package_version(package) for package in packages}
    old = json.loads(about.read_text()) if about.exists() and out.is_dir() else None
    if old and old["cleaning"] == CLEANING and old["versions"] == versions:
        return old
    if out.exists() and old is None and any(out.iterdir()):
        raise ValueError(
            f"{out} exists, and {about.name} beside it does not say that it is a corpus of ours. "
            "Choose another --out or remove the folder."
        )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = {package: source_files(root) for package, root in roots.items()}
    record = {"cleaning": CLEANING, "versions": versions, "packages": {}, "characters": 0}
    seen = set()
    with tqdm(total=sum(map(len, files.values())), desc="reading sources", unit="file") as bar:
        for package in packages:
            documents = module_documents(files[package], seen, bar.update)
            text = "\n\n".join("\n".join(paragraphs) for paragraphs in documents) + "\n"
            (partial / f"{package}.txt").write_text(text, encoding="utf-8")
            record["packages"][package] = {
                "version": versions[package],
                "modules": len(documents),
                "characters": len(text),
            }
            record["characters"] += len(text)
    about.unlink(missing_ok=True)  # a kill between these lines leaves nothing that looks finished
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
    about.write_text(json.dumps(record, indent=1) + "\n")
    return record


def package_root(package):
    """The folder that holds a package's sources. Raises ValueError when it is not installed."""
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"Package '{package}' is not installed. Known: {', '.join(PACKAGES)}.")
    return Path(spec.submodule_search_locations[0])


def package_version(package):
    """The version that will be recorded with the text."""
    if package == "stdlib":
        return ".".join(map(str, sys.version_info[:3]))
    try:
        return importlib.metadata.version(PACKAGES.get(package) or package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def source_files(root):
    """The .py files under a folder in the order of their paths, without folders of tests."""
    return [
        path
        for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix())
        if not TEST_FOLDERS.intersection(path.relative_to(root).parts)
    ]


def module_documents(files, seen, done=None):
    """The prose of modules: one document for each that has any that is new.

    Args:
      files: paths of .py files.
      seen: set of paragraph keys already taken; extended in place.
      done: called with 1 after each file.

    Returns:
      list of list of str: the paragraphs of each document, one line each.
    """
    documents = []
    for path in files:
        fresh = []
        for text in documentation_strings(path.read_bytes()):
            for paragraph in prose_paragraphs(text):
                key = re.sub(r"[^a-z]", "", paragraph.lower())
                if key not in seen:
                    seen.add(key)
                    fresh.append(paragraph)
        if fresh:
            documents.append(fresh)
        if done:
            done(1)
    return documents


def documentation_strings(source):
    """The documentation strings of a module, in the order of its source.

    These are docstrings, and the strings that a module gives to a call or a name with "doc" or
    "topics" in it (numpy and pydoc document compiled objects and the language that way).

    Args:
      source: bytes of a .py file.

    Returns:
      list of str; empty where the source cannot be parsed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's sources
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found = []
    _collect(tree, found)
    return found


def prose_paragraphs(text):
    """The paragraphs of English prose in a documentation string.

    Args:
      text: the string as it stands in the source.

    Returns:
      list of str, each one line, without mark-up, code, tables and headings.
    """
    paragraphs = []
    for lines in _blocks(_without_code(inspect.cleandoc(text).split("\n"))):
        paragraph = _plain(" ".join(line.strip() for line in lines))
        if is_prose(paragraph):
            paragraphs.append(paragraph)
    return paragraphs


def is_prose(paragraph):
    """True for a line that reads as English: words rather than code, names or numbers."""
    words = re.findall(r"[A-Za-z]+(?:'[a-z]+)?", paragraph)
    if len(words) < MIN_WORDS or not paragraph.isascii():
        return False
    if LICENCE.search(paragraph) or CODE.search(paragraph):
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    function_words = sum(word.lower() in FUNCTION_WORDS for word in words)
    return (
        letters >= PROSE_SHARE * len(paragraph)
        and function_words >= FUNCTION_WORD_SHARE * len(words)
        and max(map(len, words)) <= 40
    )


def _collect(node, found):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented):
        text = ast.get_docstring(node, clean=False)
        if text:
            found.append(text)
    elif _is_documentation(node):
        found.extend(
            part.value
            for part in ast.walk(node)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        return
    for child in ast.iter_child_nodes(node):
        _collect(child, found)


def _is_documentation(node):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return False
    names = [getattr(target, "attr", getattr(target, "id", "")).lower() for target in targets]
    return any("doc" in name or name == "topics" for name in names)


def _without_code(lines):
    """Puts a blank line where fenced code, literal blocks and doctests stood."""
    fenced = in_doctest = False
    literal_indent = None  # of the line that ended in "::"; deeper lines belong to the literal
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if FENCE.match(line):
            fenced = not fenced
            yield ""
        elif fenced or not line.strip():
            in_doctest = False
            yield ""
        elif literal_indent is not None and indent > literal_indent:
            yield ""
        elif in_doctest or DOCTEST.match(line):
            in_doctest = True  # up to the next blank line: the rest is output
            literal_indent = None
            yield ""
        else:
            literal_indent = indent if line.rstrip().endswith("::") else None
            yield re.sub(r"::\s*$", ":", line)


def _blocks(lines):
    """Groups lines into paragraphs; titles, tables and signatures separate them and go."""
    block = []
    for line in lines:
        if RULE.match(line) and len(block) == 1:
            block = []  # a title, and its underline
        if not line.strip() or any(mark.match(line) for mark in SEPARATORS):
            if block:
                yield block
            block = []
            continue
        bullet = BULLET.match(line) or NAMED_PARAMETER.match(line)
        if bullet:
            if block:
                yield block
            block = []
            line = line[bullet.end() :]
        block.append(line)
    if block:
        yield block


def _plain(paragraph):
    """Removes mark-up: roles, links, quotes of code, emphasis, addresses."""
    paragraph = re.sub(r":[a-z:]+:`~?\.?([^`<]*?)(\s*<[^`>]*>)?`", r"\1", paragraph)
    paragraph = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph)
    paragraph = re.sub(r"<?(https?|ftp)://[^\s>)]*[>)]?", "", paragraph)
    paragraph = re.sub(r"`([^`]*)`_?", r"\1", paragraph.replace("``", "`"))
    paragraph = re.sub(r"(?<![\w*])\*{1,2}([^*\s][^*]*?)\*{1,2}(?![\w*])", r"\1", paragraph)
    return " ".join(paragraph.split())


if __name__ == "__main__":
    main()

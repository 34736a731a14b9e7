"""Holds README and docs: the front page is short, links lead somewhere, samples name real hparams,
the picture of the house shows the rooms and arrows of test_architecture.py.
"""

import json
import re

import pytest

from tests.pages import check_hparams
from tests.shared import ROOT
from tests.test_architecture import BASE, MAY_IMPORT

LONGEST_README = 250
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    README,
    *DOCS,
    *(ROOT / name for name in ("benchmarks/RESULTS.md", "CONTRIBUTING.md", "SECURITY.md")),
]


def pages(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def prose(path):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def links(path):
    """(path of the file, anchor or "") of every relative link."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    parts = [target.partition("#") for target in targets if "://" not in target]
    return [((path.parent / file if file else path).resolve(), anchor) for file, _, anchor in parts]


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_a_front_page():
    assert README.read_text(encoding="utf-8").count("\n") <= LONGEST_README


@pages(PAGES)
def test_links_lead_to_files_and_headings(path):
    for target, anchor in links(path):
        assert target.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {target.name}#{anchor}"


def test_the_readme_leads_to_every_page():
    assert set(DOCS) <= {target for target, _ in links(README)}


def test_the_site_shows_every_page():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {path.name for path in DOCS} <= set(re.findall(r"^ +- (\w+\.md)$", site, flags=re.M))


@pages([README, *DOCS])
def test_hparams_of_samples_exist(path):
    for sample in re.findall(r"--hparams '(\{.*?\})'", path.read_text(encoding="utf-8"), re.S):
        check_hparams(json.loads(sample))


def test_the_picture_shows_rooms_and_allowed_arrows():
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    arrows = re.findall(r"^ *(\w+) --> (\w+)$", picture, flags=re.M)
    rooms = {room for arrow in arrows for room in arrow} - {"commands", "base"}
    assert rooms == set(MAY_IMPORT) - BASE - {"__init__", "__main__"}
    for upper, lower in arrows:
        if upper != "commands":
            assert BASE & MAY_IMPORT[upper] if lower == "base" else lower in MAY_IMPORT[upper]

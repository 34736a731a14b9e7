"""What the site has beside the pages of this folder: the README as its first page, benchmarks'
results, and the tables of hparams as the configs print them. mkdocs calls these functions.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {"README.md": "index.md", "benchmarks/RESULTS.md": "results.md"}  # file -> its page


def on_files(files, config):
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\]\((?:\.\./)*docs/", "](", text)
        files.append(File.generated(config, page, content=_inside(text, Path(source).parent)))
    files.append(File.generated(config, "hparams.md", content=_hparams()))
    return files


def on_page_markdown(markdown, page, **_):
    return markdown if page.file.src_uri in OUTSIDE.values() else _inside(markdown, Path("docs"))


def _inside(text, folder):
    """Turns links to files outside docs/ into links to their pages; others lose their link."""

    def page_of(match):
        label, target, anchor = match.groups("")
        path = (ROOT / folder / target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists() or path.parent == ROOT / "docs":
            return match[0]
        page = OUTSIDE.get(path.relative_to(ROOT).as_posix())
        return f"[{label}]({page}{anchor})" if page else label

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)", page_of, text)


def _hparams():
    from electra.finetune.config import FinetuningConfig
    from electra.pretrain.config import PretrainingConfig

    return "\n\n".join(
        [
            "# Hparams",
            "What `--hparams` takes, as `configure_pretraining.py` and `configure_finetuning.py` "
            "print it.",
            "## Pre-training",
            PretrainingConfig.markdown(),
            "## Fine-tuning",
            FinetuningConfig.markdown(),
        ]
    )

"""The hparams of fine-tuning. `python configure_finetuning.py` prints their table in Markdown.

They are declared in electra/finetune/config.py.
"""

import sys

from electra.cli import exit_status
from electra.finetune.config import FinetuningConfig

__all__ = ["FinetuningConfig"]

if __name__ == "__main__":
    sys.exit(exit_status(lambda: print(FinetuningConfig.markdown())))

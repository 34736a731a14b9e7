"""The hparams of pre-training. `python configure_pretraining.py` prints their table in Markdown.

They are declared in electra/pretrain/config.py.
"""

import sys

from electra.cli import exit_status
from electra.pretrain.config import PretrainingConfig

__all__ = ["PretrainingConfig"]

if __name__ == "__main__":
    sys.exit(exit_status(lambda: print(PretrainingConfig.markdown())))

"""Pre-trains an ELECTRA model and evaluates it.

    python run_pretraining.py --data_dir D --model_name M --hparams '{"debug": true}'

See configure_pretraining.py for the hparams and docs/data.md for the folders.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("electra.pretrain", run_name="__main__", alter_sys=True)

"""Fine-tunes an ELECTRA model on tasks and scores it.

    python run_finetuning.py --data_dir D --model_name M \
        --hparams '{"model_size": "small", "task_names": ["cola"]}'

See configure_finetuning.py for the hparams and README.md for the folders.
"""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes

from absl import flags, logging

from configure_finetuning import FinetuningConfig
from electra.door import run_door
from electra.hparams import load_hparams

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_string("data_dir", None, "Root of the data layout.", required=True)
    flags.DEFINE_string("model_name", None, "Names the pre-trained model's folder.", required=True)
    flags.DEFINE_string("hparams", "{}", "A JSON dict of hparams, or the path of one.")


def main(_):
    logging.set_verbosity(logging.INFO)
    # While it trains, the loop handles SIGTERM; before and after that nothing is left to save.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = FinetuningConfig(FLAGS.model_name, FLAGS.data_dir, **load_hparams(FLAGS.hparams))
    from electra.train.finetuning import run_finetuning  # TensorFlow: after the quick checks

    return run_finetuning(config)


if __name__ == "__main__":
    define_flags()
    run_door(main)

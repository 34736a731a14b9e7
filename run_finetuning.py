"""Fine-tunes an ELECTRA model on tasks and scores it.

    python run_finetuning.py --data_dir D --model_name M \
        --hparams '{"model_size": "small", "task_names": ["cola"]}'

See configure_finetuning.py for the hparams and docs/data.md for the folders.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("electra.finetune", run_name="__main__", alter_sys=True)

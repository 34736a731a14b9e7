"""Predictions of a fine-tuned model: examples and their features enter, predictions leave."""

import numpy as np

from electra.finetune import families
from electra.finetune.featurize import HOST_FEATURES
from electra.predictor import Predictor


class TaskPredictor:
    """Predicts with the weights of a model as they are.

    Args:
        model: FinetuningModel.
        placement: electra.train.strategy.Placement.
        tokenizer: WordPieceTokenizer.
        max_seq_length: L.
        few_shapes: as in electra.predictor.Predictor.
        n_best_size, max_answer_length: as in answers.n_best_answers.
    """

    def __init__(
        self,
        model,
        placement,
        tokenizer,
        *,
        max_seq_length,
        few_shapes=False,
        n_best_size=20,
        max_answer_length=30,
    ):
        self.model, self.tokenizer, self.max_seq_length = model, tokenizer, max_seq_length
        self.answering = {"n_best_size": n_best_size, "max_answer_length": max_answer_length}
        self._predictor = Predictor(model.electra, placement, few_shapes)

    def predict(self, task, examples, features, batch_size=32, progress=""):
        """Predicts examples.

        Args:
            task: Task, of which the model has a head.
            examples: list; features: Features of them.
            batch_size: examples of max_seq_length predicted at once; more of shorter ones.
            progress: what the progress bar is called; "" for none.
        Returns: (the family's predictions, mean loss or None without labels).
        Raises:
            ValueError: outputs are not finite.
        """
        family, head = families.get_family(task.family), self.model.heads[task.name]
        outputs = self.outputs(task, features, batch_size, progress)
        loss = outputs.pop("loss", None)
        if loss is not None:
            loss = float(np.sum(loss) / family.num_losses(features))
        answering = {**self.answering, **family.answering(head)}
        return family.predict(task, examples, features, outputs, self.tokenizer, **answering), loss

    def outputs(self, task, features, batch_size=32, progress=""):
        """Computes what the head of a task gives each feature, such as logits.

        Args: as in `predict`.
        Returns: dict name -> list of arrays: what the family's `outputs` names, and loss where the
            features have labels.
        Raises: as `predict`.
        """
        family = families.get_family(task.family)
        names = (*family.outputs(self.model.heads[task.name]), "loss")

        def forward(batch, weights):
            outputs = self.model(batch, tasks=[task.name], weights=weights)[task.name]
            return {name: outputs[name] for name in names if name in outputs}

        outputs = self._predictor.run(
            (task.name,),
            forward,
            features,
            batch_size=batch_size,
            leave=HOST_FEATURES,
            max_seq_length=self.max_seq_length,
            packs=family.packs,
            progress=progress,
        )
        wrong = [k for k, rows in outputs.items() if not all(np.isfinite(x).all() for x in rows)]
        if wrong:
            raise ValueError(
                f"The model gives task {task.name!r} {', '.join(wrong)} that are not finite. Train "
                "anew, with a lower learning_rate or in precision float32"
            )
        return outputs

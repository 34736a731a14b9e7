"""Scores that need no model: of the commonest label or the mean, and of answering nothing.

Enters: training features, dev splits. Leaves: scores to be read beside a model's.
"""

from electra.finetune.families import FAMILIES, get_family

PREFIX = "baseline_"  # of a metric's name, where it stands beside a model's


def label_priors(tasks, train):
    """Counts the training labels.

    Args:
        tasks: list of Task; train: dict name of a task -> Features of its training examples.
    Returns: dict task name -> list of float: the share of each label among the examples (tagging:
        among the words), of a regression the mean (0 to 1), of QA [].
    """
    return {
        task.name: get_family(task.family).prior(task, train[task.name])
        for task in tasks
        if task.name in train
    }


def baseline_scores(devs, priors, qa_na_threshold):
    """Scores what knows nothing but the training labels on dev splits.

    Args:
        devs: list of TaskSplit; priors: as label_priors returned them, of all tasks or of some.
        qa_na_threshold: hparam.
    Returns: dict name of a split -> metric -> float, of the family's metrics: of the commonest
        label or tag; of a mean, whose correlations count as 0; of no answer, where some questions
        have none. Of several labels each is as probable as it is frequent.
    """
    scores = {}
    for dev in devs:
        prior, task = priors.get(dev.task.name), dev.task
        if prior is None or len(prior) != get_family(task.family).prior_size(task):
            continue
        predictions = get_family(task.family).baseline(task, dev.examples, prior)
        if predictions is not None:
            found, shown = dev.score(predictions, qa_na_threshold), FAMILIES[task.family].metrics
            names = [name for name in found if name in (task.main_metric, *shown)]
            scores[dev.name] = {name: found[name] for name in names}
    return scores

"""Which tokens of a text look replaced? The trained discriminator's answer.

    python -m electra.serve.detect --model_dir D/models/M --text "A sentence." --text "Another."

Enters: a model's folder or checkpoint and texts. Leaves: each token with the probability that it is
not the original one.
"""

from absl import flags

from electra.serve.model import load

BAR_WIDTH = 30


def format_scores(scores):
    """One line a token: the token, its probability, and a bar as long as that."""
    width = max(len(token) for token, _ in scores)
    return "\n".join(
        f"  {token:{width}}  {score:.3f}  {'#' * round(score * BAR_WIDTH)}".rstrip()
        for token, score in scores
    )


def _define_flags():
    flags.DEFINE_string("model_dir", None, "Folder of a run, or a checkpoint.", required=True)
    flags.DEFINE_multi_string("text", None, "A text; may be given several times.")


def main(_):
    """Prints the scores of each text."""
    texts = flags.FLAGS.text
    if not texts:
        raise ValueError("There is no text to score. Give one or more with --text")
    scores = load(flags.FLAGS.model_dir).detect(texts)
    for text, of_text in zip(texts, scores, strict=True):
        print(f"\n{text}\n{format_scores(of_text)}", flush=True)


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)

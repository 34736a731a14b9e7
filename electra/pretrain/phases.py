"""Phases: parts of a run with settings of their own, one after another, as two lengths in one run.

Enters: the hparam `phases`, and what a run that goes on recorded of its own. Leaves: for each phase
a config like that of a run without phases, and its place in the run.
"""

import dataclasses
import functools
import itertools

from electra.hparams import Field
from electra.pretrain.defaults import OF_MODEL, of_records
from electra.storage import excerpt
from electra.train import resume

STEPS = Field(0, "Updates of the phase.", unit="steps", at_least=1, at_most=2**31 - 1)
PLACES = ("pretrain_tfrecords", "eval_tfrecords")
_MOST = 1000  # phases: beyond any run
NUMBERS = (
    *("max_seq_length", "mask_prob", "train_batch_size", "eval_batch_size"),
    *("gradient_accumulation_steps", "iterations_per_loop", "learning_rate", "num_warmup_steps"),
    *("warmup_proportion", "lr_decay_power", "lr_restart_step"),
)


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase of a run; a run without phases is one.

    Attributes:
        number: 1 for the first; count: phases of the run.
        first_step: updates before its first.
        first_example: where it begins in the order of its records: behind what earlier phases read
            of them.
        config: PretrainingConfig of a run without phases: its num_train_steps, the warm-up and
            lr_restart_step count from first_step.
    """

    number: int
    count: int
    first_step: int
    first_example: int
    config: object

    def __str__(self):
        return (
            f"Phase {self.number} of {self.count}: steps {self.first_step} to {self.last_step}, "
            f"max_seq_length {self.config.max_seq_length}"
        )

    @property
    def last_step(self):
        return self.first_step + self.config.num_train_steps

    @property
    def about(self):
        """Returns what log lines say of it: nothing of the only one."""
        return {"phase": self.number} if self.count > 1 else {}


def phases_of(config):
    """Returns the list of a PretrainingConfig's Phases.

    Raises:
        ValueError: settings of a phase do not go together.
    """
    if not config.phases:
        return [Phase(1, 1, 0, 0, config)]
    phases = []
    for number, values in enumerate(config.phases, 1):
        own = {name: value for name, value in values.items() if value is not None}
        own |= {"phases": [], "num_train_steps": own.pop("steps")}
        own = {**config.values(*OF_MODEL), **own}
        try:
            derived = config.with_hparams(**own)
        except ValueError as error:
            raise ValueError(f"Phase {number}: {error}") from None
        examples = sum(
            phase.config.num_train_steps * phase.config.train_batch_size
            for phase in phases
            if phase.config.pretrain_tfrecords == derived.pretrain_tfrecords
        )
        first_step = phases[-1].last_step if phases else 0
        phases.append(Phase(number, len(config.phases), first_step, examples, derived))
    return phases


def phases_left(config, phases, step):
    """Returns the phases whose records a run needs: those to train, or the one to evaluate."""
    left = [phase for phase in phases if config.do_train and step < phase.last_step]
    return left or [phase_at(phases, step)]


def phase_at(phases, step):
    """Returns the Phase that has made the update of a step; for step 0 the first one."""
    return next((phase for phase in phases if step <= phase.last_step), phases[-1])


def checked_phases(config):
    """Returns the hparam `phases` with every setting of each phase filled in.

    Args:
        config: PretrainingConfig whose other fields are set: their values are the defaults. The
            last phase takes the steps that num_train_steps leaves unless it says its own.
    Raises:
        ValueError: an unknown name or an impossible value; num_train_steps is not the sum.
    """
    fields = {"steps": STEPS, **{name: config.fields[name] for name in (*NUMBERS, *PLACES)}}
    phases = []
    if len(config.phases) > _MOST:
        raise ValueError(f"phases holds {len(config.phases)}. Expected: at most {_MOST}")
    for number, given in enumerate(config.phases, 1):
        if type(given) is not dict:
            raise ValueError(f"Phase {number} must be a dict. Received: {excerpt(repr(given))}")
        if strangers := set(given) - set(fields):
            raise ValueError(
                f"Phase {number} sets {', '.join(map(repr, sorted(strangers)))}, which is of the "
                f"whole run or unknown. A phase may set: {', '.join(fields)}"
            )
        values = {**config.values(*NUMBERS), **dict.fromkeys(PLACES), **given}
        if "max_seq_length" not in {*given, *config.given}:
            patterns = [values[name] or getattr(config, name) for name in PLACES]
            values["max_seq_length"] = of_records(patterns, config.fields).get(
                "max_seq_length", values["max_seq_length"]
            )
        if "steps" not in given:
            left = config.num_train_steps - sum(phase["steps"] for phase in phases)
            if number < len(config.phases) or left < 1:
                raise ValueError(
                    f"Phase {number} lacks 'steps', the number of its updates. Only the last may "
                    f"leave them out, where num_train_steps {config.num_train_steps} leaves some"
                )
            values["steps"] = left
        phases.append(
            {
                name: field.checked(f"phase {number}: {name}", values[name])
                for name, field in fields.items()
            }
        )
    total = sum(phase["steps"] for phase in phases)
    if phases and "num_train_steps" in config.given and config.num_train_steps != total:
        raise ValueError(
            f"num_train_steps is {config.num_train_steps}, the steps of the phases are "
            f"{' + '.join(str(phase['steps']) for phase in phases)} = {total}. Leave "
            "num_train_steps out, or the steps of the last phase"
        )
    return phases


def resumed(config, recorded, folder, step):
    """Returns the PretrainingConfig with which a run goes on, as resume.resumed.

    A phase that has begun is held to what was recorded of it; later ones are free, more may follow.
    Without do_train the config is that of the phase that made the step, and without phases.

    Args:
        config, recorded, folder: as there. step: of the checkpoint.
    Raises:
        ValueError: as there.
    """
    if recorded is not None and not config.do_train:
        if config.phases:
            config = phase_at(phases_of(config), step).config
        else:
            reached = _recorded_at(_listed(recorded), step)
            places = [name for name in PLACES if reached.get(name) and name not in config.given]
            config = config.with_hparams(**{name: reached[name] for name in places})
            recorded = {**recorded, **reached}
    return resume.resumed(config, recorded, folder, functools.partial(refused_changes, step=step))


def refused_changes(fields, recorded, now, step):
    """Lists the changes that are not allowed when a run goes on at a step, as resume's does."""
    own = {name: fields[name] for name in NUMBERS}
    others = {name: field for name, field in fields.items() if name not in own}
    refused = resume.refused_changes(others, recorded, now)
    before, after = _listed(recorded), _listed(now)
    if len(after) < len(before):
        refused.append(f"the run has {len(before)} phases, the command {len(after)}")
    first = 0
    for number, (old, new) in enumerate(zip(before, after, strict=False), 1):
        if first and first >= step:
            break  # it has not begun
        where = f"phase {number}: " if len(before) + len(after) > 2 else ""
        refused += [where + change for change in resume.refused_changes(own, old, new)]
        is_finished = number < len(before) and first + old["steps"] <= step
        is_too_short = number < len(after) and first + new["steps"] < step
        if old["steps"] != new["steps"] and (is_finished or is_too_short):
            refused.append(
                f"{where}its steps were {old['steps']} and are now {new['steps']}, with step "
                f"{step} reached"
            )
        first += old["steps"]
    return refused


def _listed(values):
    """Returns the phases of `to_json()` of a config, of a run without them the one that it is."""
    if values.get("phases"):
        return values["phases"]
    numbers = {name: values[name] for name in NUMBERS if name in values}
    return [{**numbers, "steps": values.get("num_train_steps", 0)}]


def _recorded_at(phases, step):
    """Returns the dict of the phase that made the update of a step."""
    ends = itertools.accumulate(phase["steps"] for phase in phases)
    return next((p for p, end in zip(phases, ends, strict=True) if step <= end), phases[-1])

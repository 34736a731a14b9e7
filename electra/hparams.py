"""Settings: JSON overrides, and configs made of fields.

Enters: `--hparams` text (a JSON dict or a path to one), a config class whose attributes are fields.
Leaves: checked dicts, configs.
"""

import contextlib
import copy
import dataclasses
import difflib
import functools
import json
import operator
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from electra.storage import KIND_NAMES, excerpt, parse_json_dict, read_json_dict

_KIND_NAMES = {**KIND_NAMES, float: "a number"}
_BOUNDS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def load_hparams(text: str | list[str] | None) -> dict[str, Any]:
    """Reads `--hparams`.

    Args:
        text: a JSON dict, or the path of a file that holds one; empty or None means {}. Of a
            list of such texts, later ones win.
    Returns: dict.
    Raises:
        FileNotFoundError: text is a path and nothing lies there.
        ValueError: not JSON (line and column are named), not a dict, a key given twice.
    """
    if isinstance(text, list):
        return functools.reduce(operator.or_, map(load_hparams, text), {})
    text = (text or "").strip()
    if not text:
        return {}
    if text[0] not in "{[\"'" or os.path.isfile(text):
        return read_json_dict(text, "--hparams", "a JSON dict or the path of a .json file")
    return parse_json_dict(text, "--hparams")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting, declared as an attribute of a Config class.

    Args:
        default: JSON value.
        help: one sentence.
        unit: what the number counts.
        source: "official", a paper's section, or "ours".
        kinds: tuple of accepted types; empty means the type of the default, or str where that is
            null. An int is accepted as a float, a bool never as a number.
        null: whether null is accepted (always where the default is null).
        choices: the accepted values, if they are few; they win over kinds.
        words: strings that are accepted beside numbers.
        at_least, above, at_most, below: bounds of a number.
        may_change: whether a run that goes on may have another value than it began with.
        of_task: whether a fine-tuning task's row may give it another default: a number or switch
            of training, never a place, a device, or what is to be done.
    """

    default: Any
    help: str
    _: dataclasses.KW_ONLY
    unit: str = ""
    source: str = "official"
    kinds: tuple[type, ...] = ()
    null: bool = False
    choices: tuple[Any, ...] = ()
    words: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    may_change: bool = False
    of_task: bool = False

    if TYPE_CHECKING:  # a config has the value under the field's name

        def __get__(self, config: object, owner: type | None = None) -> Any: ...

    def __post_init__(self) -> None:
        own = str if self.default is None else type(self.default)
        object.__setattr__(self, "kinds", self.kinds or (own,))
        object.__setattr__(self, "null", self.null or self.default is None)

    def checked(self, name: str, value: Any) -> Any:
        """Returns value, an int made a float where a float belongs.

        Raises:
            ValueError: an impossible value; `name` is what the message calls the field.
        """
        if (value is None and self.null) or (type(value) is str and value in self.words):
            return value
        name = name if name.startswith("--") else f"hparam {name!r}"
        received = excerpt(repr(value))
        if self.choices:
            # bool before equality: 1 == True in Python, not in JSON.
            if not any(type(value) is type(c) and value == c for c in self.choices):
                expected = ", ".join(json.dumps(choice) for choice in self.choices)
                raise ValueError(f"{name} must be one of {expected}. Received: {received}")
            return value
        # json reads 1e999 as infinity, and an int of any length.
        largest = sys.float_info.max if float in self.kinds else 2**63 - 1
        is_too_large = type(value) in (int, float) and not abs(value) <= largest
        if float in self.kinds and type(value) is int and not is_too_large:
            value = float(value)
        if type(value) not in self.kinds or is_too_large or not is_text(value):
            names = [_KIND_NAMES[kind] for kind in self.kinds] + [*map(json.dumps, self.words)]
            expected = " or ".join(names)
            expected += f" of at most {largest:g}" if is_too_large else ""
            expected += " or null" if self.null else ""
            expected += "" if is_text(value) else ", in UTF-8 without NUL"
            raise ValueError(f"{name} must be {expected}. Received: {received}")
        if not all(_BOUNDS[bound](value, limit) for bound, limit in self._bounds()):
            raise ValueError(f"{name} must be {self.range()}. Received: {received}")
        return copy.deepcopy(value)

    def range(self) -> str:
        """Returns the allowed range in words, empty without one."""
        return " and ".join(
            f"{name.replace('_', ' ')} {bound if type(bound) is int else format(bound, 'g')}"
            for name, bound in self._bounds()
        )

    def _bounds(self) -> list[tuple[str, float]]:
        return [(name, getattr(self, name)) for name in _BOUNDS if getattr(self, name) is not None]


class Config:
    """Base of the config classes: collects their fields, fills and checks the values.

    Attributes:
        fields: dict name -> Field, of the class.
        given: frozenset of the names the user set.
        prefix: of the names in messages: "--" where the fields are flags.
    Raises:
        AttributeError: an attribute is set after `freeze`.
    """

    prefix, _is_frozen = "", False
    fields: ClassVar[dict[str, Field]] = {}
    given: frozenset[str]

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        inherited = {k: field for k, field in cls.fields.items() if k not in own}
        cls.fields = {**own, **inherited}

    def fill(self, given: Mapping[str, Any], derived: Mapping[str, Any]) -> None:
        """Sets every field: to what was given, else to what was derived, else to the default.

        Raises:
            ValueError: an unknown name or an impossible value.
        """
        self.check_given(given)
        self.given = frozenset(given)
        for name, field in self.fields.items():
            value = given.get(name, derived.get(name, field.default))
            setattr(self, name, field.checked(f"{self.prefix}{name}", value))

    def check_given(self, given: Mapping[str, Any]) -> None:
        """Checks names and values that the user gave. Raises: ValueError."""
        refuse_unknown(given, self.fields)
        for name, value in given.items():
            self.fields[name].checked(f"{self.prefix}{name}", value)

    def freeze(self) -> None:
        """Ends the making of the config: no attribute can be set any more."""
        self._is_frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_frozen:
            raise AttributeError(
                f"{type(self).__name__} is frozen: {name} cannot be set. Make another with replace"
            )
        super().__setattr__(name, value)

    def values(self, *names: str) -> dict[str, Any]:
        """Returns some of the config's attributes as a dict."""
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Returns the values of all fields as a dict of JSON values."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.fields}

    @classmethod
    def markdown(cls) -> str:
        """Returns a table of the fields in Markdown."""
        head = "| hparam | default | unit or range | source | may change in a run | meaning |"
        rows = [head, "|---|---|---|---|---|---|"]
        for name, field in cls.fields.items():
            words = " or ".join(map(json.dumps, field.words))
            about = "; ".join(part for part in (field.unit, field.range(), words) if part)
            if field.choices:
                about = ", ".join(json.dumps(choice) for choice in field.choices)
            default = json.dumps(field.default)
            change = "yes" if field.may_change else ""
            rows.append(
                f"| `{name}` | `{default}` | {about} | {field.source} | {change} | {field.help} |"
            )
        return "\n".join(rows)


def checked_record(
    recorded: Mapping[str, Any], names: Collection[str], fields: Mapping[str, Field], folder: str
) -> dict[str, Any]:
    """Returns some of the hparams that a folder's hparams.json holds.

    Args:
        recorded: dict, its contents; names: of those to take, where they are there.
        fields: dict name -> Field.
    Raises:
        ValueError: a value is impossible.
    """
    with damaged_record(folder):
        return {
            name: fields[name].checked(name, recorded[name]) for name in names if name in recorded
        }


@contextlib.contextmanager
def damaged_record(folder: str) -> Iterator[None]:
    """Blames a ValueError inside on a folder's hparams.json."""
    try:
        yield
    except ValueError as error:
        path = os.path.join(folder, "hparams.json")
        advice = "Write it anew from the hparams of that run, or choose another folder"
        raise ValueError(f"{path} is damaged: {error}. {advice}") from None


def is_text(value: object) -> bool:
    """Returns whether a value can be in a file's name: False for a str that UTF-8 or C cannot hold.

    A byte of the command line that is not UTF-8 arrives as a lone surrogate.
    """
    if not isinstance(value, str):
        return True
    return value.encode("utf-8", "ignore").replace(b"\0", b"").decode() == value


def refuse_unknown(given: Iterable[str], known: Collection[str], what: str = "hparam") -> None:
    """Refuses names that are not known, naming the closest that is.

    Raises:
        ValueError: a name is unknown.
    """
    for name in given:
        if name not in known:
            closest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Closest: {closest[0]!r}" if closest else f"Known: {', '.join(sorted(known))}"
            raise ValueError(f"{what} {excerpt(name)!r} is unknown. {hint}")

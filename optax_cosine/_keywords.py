"""Keywords of other libraries, and arguments by position, answered with keywords."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# What arguments of Optax, PyTorch, timm, Keras and transformers are called here.
_LENGTH = ("total_steps", "decay_steps", "steps", "cycle_steps")
_RATE = ("peak_value", "init_value", "value")
_OURS = {
    **dict.fromkeys(["decay_steps", "epochs", "num_decay_steps"], _LENGTH),
    **dict.fromkeys(["num_training_steps", "T_max", "t_initial"], _LENGTH),
    **dict.fromkeys(["transition_steps", "offset"], (*_LENGTH[2:], *_LENGTH)),
    **dict.fromkeys(["T_0", "first_decay_steps"], ("cycle_steps",)),
    **dict.fromkeys(["T_mult", "t_mul"], ("cycle_steps_factor",)),
    **dict.fromkeys(["alpha", "eta_min", "min_lr", "min_lr_ratio"], ("end_value",)),
    **dict.fromkeys(["max_lr", "initial_learning_rate", "lr", "learning_rate"], _RATE),
    **dict.fromkeys(
        ["num_warmup_steps", "warmup_ratio", "pct_start"], ("warmup_steps",)
    ),
    **{"power": ("exponent",), "m_mul": ("peak_factor",), "decay_shape": ("shape",)},
}
_NOTES = {
    "alpha": ", a rate and not a ratio: alpha times the rate at the start",
    "decay_steps": ", which counts the warm-up too",
    "epochs": "=count_updates(batches_per_epoch=..., epochs=...)",
    "min_lr_ratio": "=min_lr_ratio * peak_value",
    "pct_start": "=round(pct_start * total_steps)",
    "warmup_ratio": "=round(warmup_ratio * total_steps)",
}


def answer_wrong_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Keywords that are not known, and too many arguments by position, are refused.

    The error names the keyword to write.
    """
    parameters = inspect.signature(function).parameters
    what, known = function.__name__, list(parameters)
    kinds = [parameter.kind for parameter in parameters.values()]
    by_position = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes_many = inspect.Parameter.VAR_POSITIONAL in kinds

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"{what} has no argument {name}{_suggestion(name, known)}; it "
                    f"takes {', '.join(known)}."
                )
        if by_position < len(args) <= len(known) and not takes_many:
            keywords = zip(known[by_position:], args[by_position:], strict=False)
            more = ", ".join(f"{name}={value!r}" for name, value in keywords)
            raise TypeError(
                f"{what} takes {by_position} arguments by position, got {len(args)}: "
                f"write {more}."
            )
        return function(*args, **kwargs)

    return checked


def _suggestion(name: str, known: list[str]) -> str:
    if ours := [x for x in _OURS.get(name, ()) if x in known]:
        return f": write {ours[0]}{_NOTES.get(name, '')}"
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""

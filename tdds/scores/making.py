"""Scores from the names of methods and their parameters, one or a grid of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import product
from typing import Any, TypeGuard

from tdds.scores.methods import METHODS, Score
from tdds.validation import check_choice


def is_score(method: Any) -> TypeGuard[Score]:
    """Whether `method` is a score itself, in the place of the name of one."""
    return isinstance(method, Score) and not isinstance(method, type)


def make_score(method: str | Score, **parameters: Any) -> Score:
    """The score of that name, with those of `parameters` that it has; a score as it is.

    Raises
    ------
    ValueError, TypeError
        There is no such method, or a parameter of it is out of range.
    """
    if is_score(method):
        return method
    check_choice("method", method, tuple(METHODS))
    known = METHODS[str(method)]
    own = {field.name for field in fields(known)}
    return known(**{name: value for name, value in parameters.items() if name in own})


def default_K(n_epochs: int | None) -> int:
    """The usual width of a window, 10, or all epochs where they are fewer; no window is narrower than 3."""
    return 10 if n_epochs is None else max(3, min(10, n_epochs))


def make_scores(method: str | Score | Sequence[str | Score], **parameters: Any) -> dict[str, Score]:
    """Every method with every combination of those of its parameters that are lists, by name.

    The name is the method's, and behind it what varies: ``"tdds:T=10,K=5"``. Combinations with fewer epochs than a
    window is wide, K > T, are left out. Scores themselves have their parameters already.

    Raises
    ------
    ValueError, TypeError
        There is no such method, a parameter of it is out of range, or nothing is left.
    """
    methods: Any = [method] if isinstance(method, str) or is_score(method) else method
    if not isinstance(methods, Iterable):
        raise TypeError(f"method={method!r} is no method; expected a name or a list of names: {', '.join(METHODS)}.")
    varied = {name for name, value in parameters.items() if isinstance(value, (list, tuple, range))}
    grids = {name: value if name in varied else [value] for name, value in parameters.items()}
    scores: dict[str, Score] = {}
    for one in methods:
        if is_score(one):
            _add(scores, one.name, one)
            continue
        check_choice("method", one, tuple(METHODS))
        own = [field.name for field in fields(METHODS[one]) if field.name in grids]
        for values in product(*(grids[name] for name in own)):
            setting = dict(zip(own, values, strict=True))
            if {"T", "K"} & varied and None not in (setting.get("T"), setting.get("K")) and setting["K"] > setting["T"]:
                continue
            settings = ",".join(f"{name}={setting[name]}" for name in own if name in varied)
            _add(scores, f"{one}:{settings}" if settings else one, METHODS[one](**setting))
    if not scores:
        raise ValueError(f"Nothing to compute: method={method!r}, T={parameters.get('T')}, K={parameters.get('K')}.")
    return scores


def _add(scores: dict[str, Score], name: str, score: Score) -> None:
    if scores.setdefault(name, score) != score:
        raise ValueError(f"Two scores are called {name!r}; give one of them another name.")

"""The text that :class:`~kpflow_numerics.Characters` has where none is given."""

from __future__ import annotations

from functools import cache

import numpy as np

NOUNS = ("cat", "dog", "bird", "horse")
ADJECTIVES = ("old", "small", "red")
VERBS = ("see", "hear", "like")
_SEED = 10796
_N_CHARACTERS = 20_000


@cache
def built_in_text() -> str:
    """Return 20,000 characters of :func:`sentence` after :func:`sentence`."""
    generator = np.random.default_rng(_SEED)
    text = ""
    while len(text) < _N_CHARACTERS:
        text += sentence(generator)
    return text[:_N_CHARACTERS]


def sentence(generator: np.random.Generator) -> str:
    """Return a random sentence, in which a verb agrees with its subject.

    The subject is singular or plural, with an adjective or without, and with a relative clause or
    without, each with equal chances; words of a kind are drawn uniformly. A verb after a clause
    depends on a noun some 30 characters before it.
    """
    subject, plural = _noun_phrase(generator)
    clause = ""
    if generator.integers(2):
        clause = f" that {_verb(generator, plural)} {_noun_phrase(generator)[0]}"
    return f"{subject}{clause} {_verb(generator, plural)} {_noun_phrase(generator)[0]}. "


def _noun_phrase(generator: np.random.Generator) -> tuple[str, bool]:
    plural = bool(generator.integers(2))
    adjective = f"{_word(generator, ADJECTIVES)} " if generator.integers(2) else ""
    return f"the {adjective}{_word(generator, NOUNS)}{'s' if plural else ''}", plural


def _verb(generator: np.random.Generator, plural: bool) -> str:
    return _word(generator, VERBS) + ("" if plural else "s")


def _word(generator: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[generator.integers(len(words))]

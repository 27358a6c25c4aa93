"""The errors that a user can mend. Imports nothing heavy, for the command line's sake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value that a user gave cannot be used; the message says which, why and what is accepted."""


class InputTypeError(TypeError):
    """An argument has a type that cannot be used; the message says which and what is accepted."""


class MemoryLimitError(MemoryError):
    """A computation would need more memory than the user allows; the message says what to do."""


class MissingExtraError(ModuleNotFoundError):
    """An optional package is not installed; the message says how to install it."""


def suggest(value: str, accepted: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the accepted word nearest to `value`, or nothing.

    Capital letters do not count: ``"GRU"`` is near to ``"gru"``.
    """
    words = {word.lower(): word for word in accepted}
    nearest = difflib.get_close_matches(value.lower(), list(words), n=1)
    return f" Did you mean {words[nearest[0]]!r}?" if nearest else ""

"""Predicting the next character of a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .._typing import FloatArray, IntArray
from .._validation import InputError, InputTypeError, check_choice
from ._base import Task
from ._batch import TrialBatch
from ._sentences import built_in_text

_LOSSES = ("cross-entropy", "mean-squared-error")
_EVALUATION_SHARE = 10


@dataclass(frozen=True)
class Characters(Task):
    """Predict the next character of a text.

    A trial is a stretch of the text: the inputs are its characters in a one-hot code of the I
    characters that the text has, the targets those one step later. Training draws stretches from
    anywhere in the first nine tenths of the text; evaluation takes the last tenth.

    Parameters
    ----------
    text : str, optional
        The text; by default the sentences described below.
    text_file : str or Path, optional
        A file in UTF-8 with the text, in place of `text`. It is read when the task is made, which
        from then on holds the text and not the file's name.
    n_steps : int
        Number of steps T.
    loss : {"cross-entropy", "mean-squared-error"}
        The loss of training, analysis and validation: of the outputs as logits, or of the outputs
        as they are, whose squared error is averaged over the I channels.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, none by default.

    Raises
    ------
    InputError
        If an option is out of range, `text` and `text_file` are both given, the file cannot be
        read, or the text has a single character only or a last tenth of no more than `n_steps`
        characters.
    InputTypeError
        If an option is of the wrong type.

    Notes
    -----
    The built-in text is made by this library: 20,000 characters of sentences, ``the cat that sees
    the old dogs hears the bird.`` and the like, in which every verb agrees with its subject also
    where a relative clause lies between, so that some characters depend on one some 30 steps
    before. Nouns (four), their number, adjectives (three, or none half of the time), verbs (three)
    and clauses (in half of the sentences) are drawn uniformly, which makes 10.65 nats in 40.2
    characters: in the long run no prediction has a cross-entropy below 0.265 nats a character.
    That of uniform guesses is 2.83, that of the frequencies of the 17 characters 2.50, and that of
    their frequencies after the character at hand 1.18.

    :meth:`sample` draws the places of the stretches uniformly; trial ``j`` of
    ``evaluation_batch(B)`` begins ``floor(j S / B)`` characters into the last tenth, in which S
    stretches begin. The condition table has the column ``position``, the index in the text of the
    first input. Cost and memory are ``O(B T I)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import Characters
    >>> task = Characters("abcd " * 20, n_steps=3)
    >>> task.alphabet
    ' abcd'
    >>> batch = task.evaluation_batch(2)
    >>> task.read(batch.inputs), task.read(batch.targets)
    (['abc', 'd a'], ['bcd', ' ab'])
    """

    name: ClassVar[str] = "characters"
    accuracy_meaning: ClassVar[str] = (
        "fraction of all steps whose largest output is that of the character which comes next"
    )
    primary_condition: ClassVar[str] = "position"

    text: str | None = field(default=None, repr=False)
    text_file: str | Path | None = field(default=None, repr=False)
    n_steps: int = 50
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold_integer("n_steps")
        check_choice(self.loss, "loss", _LOSSES)
        if self.text_file is not None:
            if self.text is not None:
                raise InputError("Give text or text_file, not both.")
            object.__setattr__(self, "text", _read(self.text_file))
            object.__setattr__(self, "text_file", None)
        if not isinstance(self.text, str | None):
            raise InputTypeError(f"text must be a string; got {type(self.text).__name__}.")
        if len(self._whole_text) // _EVALUATION_SHARE <= self.n_steps:
            raise InputError(
                f"text must have at least {_EVALUATION_SHARE * (self.n_steps + 1)} characters, so "
                f"that its last tenth has more than n_steps = {self.n_steps}; it has "
                f"{len(self._whole_text)}. Give a longer text, or reduce n_steps."
            )
        if len(self.alphabet) < 2:
            raise InputError(
                f"text must have at least two different characters; it has {self.alphabet!r} only."
            )

    @property
    def loss_name(self) -> str:
        """The loss by which networks are trained on the task."""
        return self.loss

    @cached_property
    def alphabet(self) -> str:
        """The characters of the text in the order of their channels, that of Unicode."""
        return "".join(sorted(set(self._whole_text)))

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel: its character in quotes, escaped unless ASCII."""
        return tuple(ascii(character) for character in self.alphabet)

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel: that of the input channel."""
        return self.input_names

    def read(self, channels: FloatArray) -> list[str]:
        """Return the text of each trial in inputs, targets or outputs.

        Parameters
        ----------
        channels : array, shape (B, T, I)
            Inputs, targets or outputs: the largest channel of a step is its character.

        Returns
        -------
        list of str
            B strings of T characters.

        Raises
        ------
        InputError
            If the array has another number of axes or of channels.
        """
        values = np.asarray(channels)
        alphabet = self.alphabet
        if values.ndim != 3 or values.shape[2] != len(alphabet):
            raise InputError(
                f"channels must have shape (B, T, {len(alphabet)}); got {values.shape}."
            )
        return ["".join(alphabet[code] for code in trial) for trial in values.argmax(axis=2)]

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, the text among them if it is not the built-in one.

        Examples
        --------
        >>> from kpflow_numerics.tasks import Characters
        >>> Characters(n_steps=20).to_dict()
        {'noise_std': 0.0, 'n_steps': 20, 'loss': 'cross-entropy'}
        """
        return super().to_dict()

    @property
    def _whole_text(self) -> str:
        return built_in_text() if self.text is None else self.text

    @cached_property
    def _codes(self) -> IntArray:
        """The channel of each character of the text."""
        channels = {character: code for code, character in enumerate(self.alphabet)}
        return np.array([channels[character] for character in self._whole_text], np.int64)

    @property
    def _first_of_evaluation(self) -> int:
        return len(self._codes) - len(self._codes) // _EVALUATION_SHARE

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        n_places = self._first_of_evaluation - self.n_steps
        return self._trials(generator.integers(n_places, size=n_trials))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        first = self._first_of_evaluation
        n_places = len(self._codes) - first - self.n_steps
        return self._trials(first + np.arange(n_trials) * n_places // n_trials)

    def _trials(self, places: IntArray) -> TrialBatch:
        codes = self._codes[places[:, np.newaxis] + np.arange(self.n_steps + 1)]
        one_hot = np.eye(len(self.alphabet))[codes]
        return TrialBatch(
            one_hot[:, :-1],
            one_hot[:, 1:],
            conditions={"position": places},
            task_names=(self.name,),
        )

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        right = outputs.argmax(axis=2) == batch.targets.argmax(axis=2)
        return float(np.average(right, weights=batch.mask))


def _read(path: Any) -> str:
    if not isinstance(path, str | Path):
        raise InputTypeError(f"text_file must be a path; got {type(path).__name__}.")
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"text_file {str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"text_file {str(path)!r} is not text in UTF-8: {error}.") from error

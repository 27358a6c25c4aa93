"""A parser that says which word was meant, and names an option that it does not know."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .._errors import suggest


class Parser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` with messages in the manner of the library.

    The parsers of its commands are of this class, too.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, having refused the first option that does not exist.

        ``argparse`` itself would take the value behind it for an argument, and complain of that.
        """
        words = sys.argv[1:] if args is None else list(args)
        self._refuse_unknown_option(words)
        return super().parse_known_args(words, namespace)

    def _refuse_unknown_option(self, words: Iterable[str]) -> None:
        known = {"--help", *re.findall(r"--[a-z][a-z-]*", self.format_usage())}
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return
            if word.startswith("--") and not any(each.startswith(name) for each in known):
                self.error(f"there is no option {name}.{suggest(name, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        words = [str(word) for word in action.choices]
        raise argparse.ArgumentError(
            action, f"must be one of {', '.join(words)}; got {value!r}.{suggest(str(value), words)}"
        )

    def error(self, message: str) -> NoReturn:
        """Leave with one message; the whole usage is what ``--help`` is for."""
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help whose words are never broken at a hyphen, since they are to be typed."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

"""The reference names everything that is public."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import kpflow_numerics as kpf

REFERENCE = (Path(__file__).resolve().parents[1] / "docs" / "api.rst").read_text(encoding="utf-8")


def listed(text: str) -> set[str]:
    return set(re.findall(r"^   ([A-Za-z_.]+)$", text, re.MULTILINE))


def missing(names: set[str], text: str) -> set[str]:
    return names - listed(text)


def test_every_public_name_is_in_the_reference() -> None:
    public = {name for name in kpf.__all__ if name not in kpf._MODULES}
    assert missing(public, REFERENCE) == set()


def test_a_name_that_is_left_out_is_found() -> None:
    assert missing({"trace", "alignment"}, "   alignment\n") == {"trace"}


def test_the_reference_names_nothing_that_is_not_there() -> None:
    for name in listed(REFERENCE):
        found = kpf
        for part in name.split("."):
            found = getattr(found, part)


PAGES = Path(__file__).resolve().parents[1] / "docs"


def failures(text: str, name: str) -> int:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    return doctest.DocTestRunner(optionflags=flags, verbose=False).run(test).failed


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.rst")), ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path) -> None:
    assert failures(page.read_text(encoding="utf-8"), page.name) == 0


def test_an_example_that_fails_is_found() -> None:
    assert failures(">>> 1 + 1\n3\n", "planted") == 1

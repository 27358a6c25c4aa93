"""Lets ``python -m kpflow_numerics`` stand for ``kpflow``."""

from .cli import main

main()

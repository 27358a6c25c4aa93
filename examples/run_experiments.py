"""Run examples at full size and keep what they print, return and draw in runs/experiments/.

    python examples/run_experiments.py                                  # all, at full size
    python examples/run_experiments.py plot_initial_scale kind=gru seeds=3,4 --output DIRECTORY

Words of the form ``name=value`` are arguments of the examples' ``main``.
"""

import argparse
import ast
import importlib.util
import json
import sys
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib

HERE = Path(__file__).resolve().parent


class Tee:
    """Writes to several streams at once."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)
            stream.flush()

    def flush(self):
        for stream in self.streams:
            stream.flush()


def load(name):
    """Return an example as a module."""
    specification = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def parse(word):
    """Return name and value of ``name=value``: a Python literal, or a string where it is none."""
    name, _, value = word.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def plain(value):
    """Return what JSON cannot hold in a form that it can."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def run(name, arguments, scale, stem):
    """Run one example; write STEM.txt, STEM.json and STEM.svg, STEM-2.svg, ..."""
    import matplotlib.pyplot as plt

    with (
        stem.with_name(stem.name + ".txt").open("w", encoding="utf-8") as text,
        redirect_stdout(Tee(sys.stdout, text)),
    ):
        print(f"{name} {scale} {arguments}")
        start = time.perf_counter()
        found = load(name).main(scale, **arguments)
        print(f"{time.perf_counter() - start:.0f} s")
    with stem.with_name(stem.name + ".json").open("w", encoding="utf-8") as file:
        json.dump({"example": name, "scale": scale, "arguments": arguments, "found": found}, file,
                  default=plain, indent=1)  # fmt: skip
    for number in plt.get_fignums():
        suffix = "" if number == plt.get_fignums()[0] else f"-{number}"
        for ending in (".svg", ".png"):
            plt.figure(number).savefig(stem.with_name(f"{stem.name}{suffix}{ending}"), dpi=110)
    plt.close("all")


def main():
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="EXAMPLE or NAME=VALUE")
    parser.add_argument("--small", action="store_true", help="at the size of the tests")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--stem", help="name of the files made, where one example is named")
    given = parser.parse_intermixed_args()
    matplotlib.use("agg")
    matplotlib.rcParams["axes.formatter.min_exponent"] = 4  # 20 rather than 2 x 10^1.
    names = [word for word in given.words if "=" not in word]
    names = names or sorted(path.stem for path in HERE.glob("plot_*.py"))
    arguments = dict(parse(word) for word in given.words if "=" in word)
    given.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        try:
            stem = given.output / (given.stem or name)
            run(name, arguments, "small" if given.small else "full", stem)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

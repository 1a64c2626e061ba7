"""`make fuzz`: crafted calls to everything that a stranger can reach, none of which may end in a traceback of ours.

    python tests/fuzz --calls 10000 --seed 0

A call is one of: an event of the page through Gradio, with values that no page would send; a request to a route of
ours; a file, a link or a text for a parser. Call k depends on the seed and k alone, and is made again by `--only k`
(what the calls before it left behind aside). A refusal is an InputError's sentence, an answer below 500, or Gradio's
own error before any code of ours was reached. Prints each kind of failure once; the exit status is 1 if there is any.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]


def main() -> int:
    from fuzz.judge import fuzz
    from fuzz.world import World

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="make this call alone, and say what it is")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        calls = range(asked.calls) if asked.only is None else [asked.only]
        report = fuzz(world, calls, asked.seed, talk=asked.only is not None)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

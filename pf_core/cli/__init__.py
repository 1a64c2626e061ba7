"""The command line, `python -m pf_core COMMAND`: one module a command, with `add_arguments(parser)`, `run(args)`."""

import os
import sys

from pf_core.cli import bench, evaluate, info, judge, list_, report, sample, study, toy, train
from pf_core.cli.common import Parser
from pf_core.errors import InputError

MODULES = (list_, sample, train, evaluate, report, study, toy, judge, info, bench)
COMMANDS = {module.__name__.rpartition(".")[2].strip("_"): module for module in MODULES}


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0, or 2 after one sentence on stderr for a mistake of the caller's."""
    parser = Parser(prog="python -m pf_core", description="Patch Forcing: sample, train and look at networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        about = module.__doc__.partition(": ")[2].strip()
        module.add_arguments(commands.add_parser(name, help=about, description=about[:1].upper() + about[1:]))
    args = parser.parse_args(argv)
    try:
        COMMANDS[args.command].run(args)
    except InputError as e:
        print(f"{e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:  # a file that may not be read, a name too long for one
        print(f"{e.filename or 'The system'}: {e.strerror or e}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0

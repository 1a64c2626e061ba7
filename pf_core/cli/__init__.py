"""The command line, `python -m pf_core COMMAND`: one module a command, with `add_arguments(parser)`, `run(args)`."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

from pf_core import memory
from pf_core.cli.common import Parser, use_autoencoder
from pf_core.data.own import paths
from pf_core.errors import InputError
from pf_core.registry import known

MODULES = (
    "list_",
    "sample",
    "generate",
    "sweep",
    "train",
    "convert",
    "encode",
    "shards",
    "runs",
    "snapshot",
    "data",
    "evaluate",
    "report",
    "study",
    "results",
    "recommend",
    "record",
    "toy",
    "judge",
    "info",
    "bench",
)


class Commands(Mapping[str, ModuleType]):
    """Command -> its module, imported when it is looked up, so that each command starts quickly."""

    def __getitem__(self, name: str) -> ModuleType:
        if name not in list(self):
            raise KeyError(name)
        return importlib.import_module(f"pf_core.cli.{next(m for m in MODULES if m.strip('_') == name)}")

    def __iter__(self) -> Iterator[str]:
        return (module.strip("_") for module in MODULES)

    def __len__(self) -> int:
        return len(MODULES)


COMMANDS = Commands()


def main(argv: list[str] | None = None) -> int:
    """Run a command. Returns 0, or 2 after one sentence on stderr for an error of the user; 1 where it did all that it
    could and says that some of it failed."""
    parser = Parser(prog="python -m pf_core", description="Patch Forcing: sample, train and evaluate networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    argv = sys.argv[1:] if argv is None else argv
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # names that the console cannot print must not end the command
    if argv and not argv[0].startswith("-") and argv[0] not in list(COMMANDS):
        parser.error(f"there is no command {argv[0]!r:.60}.{known(argv[0], COMMANDS)}")
    named = argv[:1] if argv and argv[0] in list(COMMANDS) else list(COMMANDS)
    for name in named:
        module = COMMANDS[name]
        about = module.__doc__.partition(": ")[2].strip()
        module.add_arguments(commands.add_parser(name, help=about, description=about[:1].upper() + about[1:]))
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        use_autoencoder(args)
        with paths.any_path(), memory.sentences("that was computed"):
            return COMMANDS[args.command].run(args) or 0
    except InputError as e:
        print(f"{e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:  # a file that may not be read, a name too long for one
        print(f"{e.filename or 'The system'}: {e.strerror or e}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130

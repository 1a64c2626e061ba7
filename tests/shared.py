"""What tests of several files use together, as starting it costs seconds."""

from contextlib import ExitStack

# What was started, to be ended after the last test that may use it, in the order of conftest.py.
STARTED = ExitStack()

"""python -m pf_core: see pf_core/cli."""

import os

# Threads that wait sleep instead of spinning: beside another program two spinning threads mostly wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pf_core.cli import main  # noqa: E402 (torch reads the setting when it is loaded)

raise SystemExit(main())

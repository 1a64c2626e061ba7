"""python -m pf_core: see pf_core/cli."""

import os

# Threads that wait sleep instead of spinning: beside another program two spinning threads mostly wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    from pf_core.cli import main  # (torch reads the setting when it is loaded)

    raise SystemExit(main())
except KeyboardInterrupt:  # while the libraries are loaded: later a command says itself what it leaves
    raise SystemExit(130) from None

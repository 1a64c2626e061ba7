from pf_core.cli import main

raise SystemExit(main())

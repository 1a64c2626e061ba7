"""Compare's sweep: up to three settings varied, kept and drawn on the server, shown tile by tile."""

"""People's own pictures: read safely, taken in as data sets, kept and decoded once."""

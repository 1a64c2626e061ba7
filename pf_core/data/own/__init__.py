"""Own pictures: read safely, imported as data sets, decoded once."""

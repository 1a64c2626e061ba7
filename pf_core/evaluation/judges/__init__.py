"""Judges: classifiers that measure what networks draw. They never train or tune a generator."""

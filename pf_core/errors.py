"""The one exception that is meant for people: its text is a sentence that says what was wrong and what to do."""


class InputError(ValueError):
    """Raised for anything a user can mend: a bad name, value or file. CLI and app print its text and nothing else."""

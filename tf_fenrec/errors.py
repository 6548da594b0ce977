"""The one error a user's input can cause."""


class InputError(ValueError):
    """A mistake in what the user gave: an argument, a file, a line of a file.

    The message names the argument (or the file and line), the rule, and what was received; the
    command-line tools print it without a traceback and exit with status 2.
    """

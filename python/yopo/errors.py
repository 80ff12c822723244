"""What goes wrong that is not ours."""


class Error(ValueError):
    """What the caller or the world got wrong: a file, an option, a full disk. The message is the one that the command
    `yopo` prints: file, place, what was expected, what was found."""

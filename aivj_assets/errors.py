"""The exceptions that a user meets: one clear line that says what happened and what to do."""

# As a shell tells that Ctrl-C ended a command.
EXIT_INTERRUPTED = 130


class StoppedError(SystemExit):
    """Ctrl-C in a command that said itself what became of its work."""

    def __init__(self) -> None:
        super().__init__(EXIT_INTERRUPTED)


class UserError(Exception):
    """A mistake or a missing piece that the user can mend.

    The text is one line for a person: what is wrong, which file or batch, and the way out. The command line prints it
    without a traceback and exits with status 2; Dagster steps turn it into a `Failure` that is not retried.
    """

"""What the commands of `raystudy` do, from parsed flags to an exit status: a module for each thing they work on."""

EXIT_OK = 0
EXIT_FAILED_TRIALS = 1
"""It was done, but not all is well: trials failed, or what was looked at has problems."""

EXIT_USER_ERROR = 2
"""What was asked cannot be; nothing was started."""

EXIT_UNEXPECTED = 3
"""An error that nobody foresaw."""

EXIT_INTERRUPTED = 130
"""Ctrl-C; the same command goes on."""

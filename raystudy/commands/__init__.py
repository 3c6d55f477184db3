"""What the commands of `raystudy` do, from parsed flags to an exit status: a module for each thing they work on."""

EXIT_OK, EXIT_FAILED_TRIALS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

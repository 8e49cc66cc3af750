"""The shell: command line, line REPL and terminal interface."""

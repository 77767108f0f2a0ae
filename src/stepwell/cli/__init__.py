"""The command line: parses, calls, prints. It knows the server by its API alone, but for the commands that run one."""

"""The command line: parse, call the API, print; one file a command."""

"""The ``kombo-embed`` command line, one module per group of commands."""

"""The tables and figures of the paper, each in one command."""

"""The command line: arguments in, text or JSON out. The library does the work, imported when it is needed."""

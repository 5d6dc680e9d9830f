"""The command line: what goes in and out. What is done is elsewhere, and imported when a command asks for it."""

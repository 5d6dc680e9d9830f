"""The run: loop, schedule, checkpoint, journal."""

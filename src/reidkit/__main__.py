"""`reidkit`, and `python -m reidkit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C is no accident while it is still being imported either."""
    try:
        from reidkit.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("reidkit: stopped\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

"""The fixtures that the tests of pages and of figures share."""

from tests.pages import paint, ranked

__all__ = ["paint", "ranked"]

"""What a gallery does: images of known people, searched for the person of another image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from reidkit.encoder import Image


class Hit(NamedTuple):
    """An image of a gallery that was found.

    `similarity` is the cosine of its feature and that of the image that was searched for. `probability` is that of
    both showing one person; None where the model has no calibration. `camera` is None where it is not known.
    """

    key: str
    similarity: float
    probability: float | None
    camera: int | None


class Gallery(Protocol):
    """Images by their keys, and the search for those that are most similar to another one."""

    def add(
        self, images: Sequence[Image], *, keys: Sequence[str] | None = None, cameras: Sequence[int] | None = None
    ) -> list[str]:
        """Add images, all of them or, where one is refused, none.

        Args:
            images: Paths, images of Pillow or RGB pixels uint8 [H, W, 3].
            keys: What each is called; None: the paths, as text.
            cameras: The camera of each; None: not known.

        Returns:
            The keys.

        Raises:
            DataError: an image cannot be read, or a key is in the gallery already.
            UsageError: images without a path need keys; other numbers of keys or cameras than of images.
        """

    def remove(self, keys: Iterable[str]) -> None:
        """Remove images, all of them or, where a key is not in the gallery, none.

        Raises:
            DataError: a key is not in the gallery.
        """

    def search(self, image: Image, *, top: int = 10, cameras: Iterable[int] | None = None) -> list[Hit]:
        """Find the images that are most similar to `image`, most similar first, at most `top`.

        Of equally similar ones the earlier added come first. With `cameras`, images of other cameras are passed over.

        Raises:
            DataError: the image cannot be read.
            UsageError: `top` is less than 1.
        """

    def search_vectors(
        self, vectors: ArrayLike, *, top: int = 10, cameras: Iterable[int] | None = None
    ) -> list[list[Hit]]:
        """Do the same for features [Q, D] of the gallery's model; the hits of each.

        Raises:
            DataError: features of another length, or with NaN or infinity.
            UsageError: `top` is less than 1.
        """

    def keys(self) -> list[str]:
        """Return the keys of all images, in the order in which they were added."""

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

"""Any image brought into a form that can be drawn on: neither a poster nor a strip.

A drawing is enlarged until its shorter side can be read: a strip of 4000 x 1 px would become one of
millions of pixels, which no file holds.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

LONGEST_SIDE = 4096
# How many times as long as high a drawing may be.
LONGEST_STRIP = 16


class Display(NamedTuple):
    """How an image, its boxes and its masks are shown: made smaller, then padded with white.

    Attributes:
        height: int. Of the image, in pixels.
        width: int.

    Example:
        >>> strip = Display(height=1, width=8192)
        >>> strip.image(Image.new("RGB", (8192, 1))).shape, strip.boxes([[0, 0, 8192, 1]]).tolist()
        ((256, 4096, 3), [[0.0, 0.0, 4096.0, 0.5]])
    """

    height: int
    width: int

    @property
    def scale(self) -> float:
        return min(1.0, LONGEST_SIDE / max(self.height, self.width))

    @property
    def _inner(self) -> tuple[int, int]:
        return tuple(max(1, round(side * self.scale)) for side in (self.height, self.width))

    def image(self, image: Image.Image) -> np.ndarray:
        """The image as a uint8 array `(H, W, 3)`."""
        height, width = self._inner
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BOX)
        return self._padded(np.asarray(image), 255)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the image, bool `(height, width)`, as one of what is shown."""
        height, width = self._inner
        if mask.shape != (height, width):
            small = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
            mask = np.asarray(small)
        return self._padded(mask, False)

    def boxes(self, boxes) -> np.ndarray:
        """Boxes `(N, 4)`, xyxy in pixels of the image, in those of what is shown."""
        return self.scale * np.reshape(boxes, (-1, 4))

    def _padded(self, pixels: np.ndarray, filler) -> np.ndarray:
        height, width = pixels.shape[:2]
        shortest = -(-max(height, width) // LONGEST_STRIP)
        missing = [(0, max(0, shortest - side)) for side in (height, width)]
        if not any(sum(pair) for pair in missing):
            return pixels
        missing += [(0, 0)] * (pixels.ndim - 2)
        return np.pad(pixels, missing, constant_values=filler)

"""Between boxes and what a network predicts of them, relative to reference boxes."""

import dataclasses

from harmonic_tf import boxes


@dataclasses.dataclass(frozen=True)
class CenterSize:
    """Centres in sizes of the reference box and logarithms of size ratios, over a variance.

    Attributes:
        variance: 4 floats that deltas are divided by: for the centre's y and x, height and width.

    Example:

    >>> reference = ops.array([[0.0, 0.0, 10.0, 10.0]])
    >>> CenterSize((1.0, 1.0, 1.0, 1.0)).encode(reference + 5.0, reference).tolist()
    [[0.5, 0.5, 0.0, 0.0]]
    """

    variance: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def encode(self, values, reference_boxes):
        """Deltas `(..., 4)` of boxes `(..., 4)`, x1, y1, x2, y2, from reference boxes."""
        return boxes.encode(values, reference_boxes, self.variance)

    def decode(self, deltas, reference_boxes):
        """Boxes `(..., 4)`, x1, y1, x2, y2, of deltas `(..., 4)` from reference boxes."""
        return boxes.decode(deltas, reference_boxes, self.variance)

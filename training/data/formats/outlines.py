"""Irregular outlines for the drawn data: each a list of polygons that together fill one object.

A polygon is `(K, 2)` float, in any unit and place: what draws it turns, scales and moves it.
"""

import numpy as np


def _polar(angles: np.ndarray, radii) -> np.ndarray:
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=-1)


def _ribbon(line: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The polygon around a line `(K, 2)` that is `widths` `(K,)` thick."""
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    side = normal * widths[:, None] / 2
    return np.concatenate([line + side, (line - side)[::-1]])


def _curve(start, heading: float, bend: float, length: float, steps: int = 16) -> np.ndarray:
    """A line `(steps, 2)` from `start` that turns by `bend` radians on its way."""
    headings = heading + bend * np.linspace(0, 1, steps - 1)
    moves = _polar(headings, length / (steps - 1))
    return np.concatenate([[start], start + np.cumsum(moves, axis=0)])


def blob(rng) -> list[np.ndarray]:
    """A lump with a thin curved tail."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radii = 1.0 + sum(
        rng.uniform(-0.16, 0.16) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    heading = rng.uniform(0, 2 * np.pi)
    start = _polar(np.array(heading), 0.6)
    bend = rng.choice([-1, 1]) * rng.uniform(0.8, 2.0)
    tail = _curve(start, heading, bend, rng.uniform(1.8, 2.8))
    return [_polar(angles, radii), _ribbon(tail, np.linspace(0.3, 0.1, len(tail)))]


def ring(rng) -> list[np.ndarray]:
    """A ring with a gap."""
    gap = rng.uniform(0.6, 1.6)
    angles = np.linspace(gap / 2, 2 * np.pi - gap / 2, 40)
    circle = _polar(angles, 1.0) * (1.0, rng.uniform(0.75, 1.0))
    return [np.concatenate([circle, circle[::-1] * rng.uniform(0.55, 0.72)])]


def cross(rng) -> list[np.ndarray]:
    """Four arms of unequal length and width."""
    arms = []
    for quarter in range(4):
        line = np.array([[-0.12, 0.0], [rng.uniform(0.5, 1.3), 0.0]])
        arm = _ribbon(line, np.full(2, rng.uniform(0.22, 0.42)))
        angle = quarter * np.pi / 2
        arms.append(arm @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return arms


def star(rng) -> list[np.ndarray]:
    """Five or six points of unequal length."""
    points = int(rng.integers(5, 7))
    radii = np.stack([rng.uniform(0.75, 1.2, points), rng.uniform(0.3, 0.45, points)], axis=-1)
    return [_polar(np.linspace(0, 2 * np.pi, 2 * points, endpoint=False), radii.ravel())]


def crescent(rng) -> list[np.ndarray]:
    """A moon, thicker or thinner."""
    half = rng.uniform(1.5, 2.2)
    line = _polar(np.linspace(-half, half, 40), 1.0)
    thickness = rng.uniform(0.45, 0.75) * np.cos(np.linspace(-1.5, 1.5, 40))
    return [_ribbon(line, thickness)]


def arrow(rng) -> list[np.ndarray]:
    """A bent shaft with a head."""
    shaft = _curve(np.zeros(2), 0.0, rng.uniform(-1.2, 1.2), 2.0)
    ahead = shaft[-1] - shaft[-2]
    ahead /= np.linalg.norm(ahead)
    aside = np.array([-ahead[1], ahead[0]]) * rng.uniform(0.4, 0.6)
    tip = ahead * rng.uniform(0.6, 0.9)
    head = shaft[-1] + np.stack([aside, tip, -aside])
    return [_ribbon(shaft, np.full(len(shaft), rng.uniform(0.2, 0.32))), head]


OUTLINES = {
    "blob": blob,
    "ring": ring,
    "cross": cross,
    "star": star,
    "crescent": crescent,
    "arrow": arrow,
}

"""Pictures of a run as differences from what the pictures before foretell: small numbers, which gzip makes short.

x_t moves almost on a straight line, and what a look-ahead pass saw is best foretold from the one two passes before: so
four predictors are tried for each frame, and the one with the smallest differences is named beside them. Nothing is
lost: predictor and differences give the picture back, bit for bit (the browser does so in viewer/store.js).
"""

from collections import deque

import numpy as np

PREDICTORS = [[(1, 1)], [(2, 1)], [(1, 2), (2, -1)], [(2, 2), (4, -1)]]  # (how many frames back, times what)
_BACK = 4


class Residuals:
    """Remembers the last pictures of one kind, (B, H, W, 3) uint8 each; those before the first are black."""

    def __init__(self):
        self._before: deque[np.ndarray] = deque(maxlen=_BACK)

    def encode(self, picture: np.ndarray) -> tuple[int, np.ndarray]:
        """(number of the best predictor, picture minus its guess modulo 256)."""
        apart = [picture.astype(np.int16) - self.guess(k, picture.shape) for k in range(len(PREDICTORS))]
        best = int(np.argmin([np.abs(d).sum() for d in apart]))
        self._before.appendleft(picture)
        return best, (apart[best] & 255).astype(np.uint8)

    def decode(self, k: int, apart: np.ndarray) -> np.ndarray:
        """The picture again."""
        picture = ((apart.astype(np.int16) + self.guess(k, apart.shape)) & 255).astype(np.uint8)
        self._before.appendleft(picture)
        return picture

    def guess(self, k: int, shape: tuple[int, ...]) -> np.ndarray:
        total = np.zeros(shape, np.int16)
        for back, times in PREDICTORS[k]:
            if back <= len(self._before):
                total += times * self._before[back - 1].astype(np.int16)
        return total.clip(0, 255)

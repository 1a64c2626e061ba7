"""Pictures of a run as differences from what the pictures before foretell: small numbers, which gzip makes short.

x_t moves almost on a straight line, and what a look-ahead pass saw is best foretold from the one two passes before: so
four predictors are tried for each frame, and the one with the smallest differences is named beside them. Predictor and
differences give the picture back bit for bit (the browser does so in viewer/store.js), as long as they fit the budget:
large noisy pictures are rounded to steps of 3, 5, ... of 255 levels, no coarser than that needs. Exact arrays are what
the raw download is for.
"""

from collections import deque

import numpy as np

PREDICTORS = [[(1, 1)], [(2, 1)], [(1, 2), (2, -1)], [(2, 2), (4, -1)]]  # (how many frames back, times what)
STEPS = (1, 3, 5, 7, 9, 13, 17, 25, 33, 49, 65)  # odd, so that rounding errs by no more than (step - 1) / 2
BUDGET = 1950  # bytes a picture and image: 4 runs of 65 frames, two pictures and the maps each, stay under 2 MB
_BACK = 4


class Residuals:
    """Remembers the last pictures of one kind, (B, H, W, 3) uint8 each, as the browser has them; before the first all
    is black."""

    def __init__(self):
        self._before: deque[np.ndarray] = deque(maxlen=_BACK)

    def encode(self, picture: np.ndarray) -> tuple[int, int, np.ndarray]:
        """(number of the best predictor, step, picture minus its guess in steps, modulo 256)."""
        apart = [picture.astype(np.int16) - self.guess(k, picture.shape) for k in range(len(PREDICTORS))]
        best = int(np.argmin([np.abs(d).sum() for d in apart]))
        step = fitting(apart[best]) if self._before else 1  # the run's noise is always exact
        codes = (_rounded(apart[best], step) & 255).astype(np.uint8)
        self.decode(best, step, codes)
        return best, step, codes

    def decode(self, k: int, step: int, codes: np.ndarray) -> np.ndarray:
        """The picture again."""
        guess = self.guess(k, codes.shape)
        if step == 1:
            picture = ((guess + codes) & 255).astype(np.uint8)
        else:
            picture = (guess + step * codes.view(np.int8).astype(np.int16)).clip(0, 255).astype(np.uint8)
        self._before.appendleft(picture)
        return picture

    def guess(self, k: int, shape: tuple[int, ...]) -> np.ndarray:
        total = np.zeros(shape, np.int16)
        for back, times in PREDICTORS[k]:
            if back <= len(self._before):
                total += times * self._before[back - 1].astype(np.int16)
        return total.clip(0, 255)


def fitting(apart: np.ndarray) -> int:
    """The finest step at which differences (B, ...) in [-255, 255] fit the budget, by their entropy."""
    images, values = apart.shape[0], apart.size / apart.shape[0]
    counts = np.bincount((apart + 255).ravel(), minlength=511) / images
    for step in STEPS[:-1]:
        binned = np.bincount(_rounded(np.arange(-255, 256), step) + 255, counts)
        shares = binned[binned > 0] / values
        if -(shares * np.log2(shares)).sum() * values / 8 <= BUDGET:
            return step
    return STEPS[-1]


def _rounded(apart: np.ndarray, step: int) -> np.ndarray:
    """To the nearest multiple of an odd step, divided by it."""
    return (apart + (step // 2)) // step

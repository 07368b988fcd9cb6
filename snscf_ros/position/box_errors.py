# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says how far a tracked box may be from the true one, by the tracker's score.

Measured with snscf_nano on 26 annotated sequences, 150 images of each. Among boxes of one score, the centre's error is
a share of the box's size, and so is the size's. Both grow as the score falls:

    score                        0.97   0.93   0.86   0.76   0.62   0.42
    centre, share of the size    0.05   0.05   0.06   0.08   0.10   0.14   (68 % of the errors are smaller)
    size, share of itself        0.09   0.12   0.17   0.21   0.22   0.21

The lines below go along these numbers. The errors last: from one image to the next they are correlated by 0.7
(centre) to 0.9 (size), so averaging over images gains little.
"""

from __future__ import annotations

import numpy as np

from snscf_ros.position.rigid import Array

Box = tuple[float, float, float, float]

# of a box that may be used; of those below, many are elsewhere
LEAST_SCORE = 0.3

# of the error at score 1, and how much it grows to score 0
_CENTRE = (0.04, 0.20)
_SIZE = (0.09, 0.40)
# the size of a box that goes beyond the image is a guess of the tracker
_CUT = 3.0
# of a pixel; no box is exact
_PIXEL = 0.5


def box_deviations(box: Box, score: float, width: int, height: int, factor: float = 1.0) -> Array:
    """Return the standard deviations of a box's centre x, centre y, width and height, in pixels.

    box: top-left (x, y, w, h).
    score: of the tracker, 0 to 1.
    width, height: of the image.
    factor: on the measured errors: less than 1 for rigid targets, whose boxes are better defined.
    """
    x, y, w, h = box
    doubt = 1.0 - min(max(score, 0.0), 1.0)
    centre, size = (factor * (least + growth * doubt) for least, growth in (_CENTRE, _SIZE))
    cut_x = _CUT if x < 0 or x + w > width else 1.0
    cut_y = _CUT if y < 0 or y + h > height else 1.0
    relative = np.array([centre * cut_x * w, centre * cut_y * h, size * cut_x * w, size * cut_y * h])
    return np.asarray(np.hypot(relative, _PIXEL))

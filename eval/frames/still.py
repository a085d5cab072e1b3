"""Whether a clip is frozen: every frame is the first one, up to what a codec does to it.

In: pixels. Out: yes or no. Metrics name frozen clips, the gate counts them, and a judge answers by this rule that the
figure of such a clip stands still. Letters: T frames, H W pixels.
"""

from __future__ import annotations

import numpy as np

# A change is real where a block of 8 x 8 pixels changes by so much on average, of 255 levels, in grey or in the channel
# that changes most. x264 changes still clips by up to 6 and 18 at crf 30 (measured on textures and on the cartoon
# world); what moves in the cartoon world changes by 69 and more.
BLOCK, GREY_LEVELS, COLOR_LEVELS = 8, 8.0, 32.0


def frozen(pixels: np.ndarray) -> bool:
    """Whether every frame of uint8 (T, H, W, 3) is the first one, up to what a codec does to it. A single frame is."""
    import cv2

    first = np.ascontiguousarray(pixels[0])
    grey = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)  # (H, W)
    for frame in pixels[1:]:
        frame = np.ascontiguousarray(frame)
        luma = cv2.absdiff(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), grey)  # (H, W)
        if _greatest(luma) > GREY_LEVELS or _greatest(cv2.absdiff(frame, first).max(-1)) > COLOR_LEVELS:
            return False
    return True


def _greatest(change: np.ndarray) -> float:
    """Greatest mean of a block of uint8 (H, W)."""
    import cv2

    return float(cv2.blur(change.astype(np.float32), (BLOCK, BLOCK)).max())

"""How sure the model is that a photograph shows a crack at all: the figure that ranks photographs.

Left to others: where it is reported (`answer`), and what is ranked by it (the survey's contact sheet, the page's table).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

N_STRONGEST = 1024  # pixels: a crack of 2 by 256


def crack_score(prob_hw_u8: NDArray[np.uint8]) -> float:
    """The mean probability of the photograph's `N_STRONGEST` most probable pixels, of all where there are fewer; 0 to 1.

    No threshold has a part in it, and bare wall around a crack takes nothing from it: a hairline scores as high in a large
    photograph as in a small one, where its share of the area (`crack_ratio`) vanishes.

    Args:
        prob_hw_u8: at least one pixel, 255 = certain crack.
    """
    # Counted by level instead of sorted: Pillow takes 0.2 s for 100 megapixels and no memory; numpy's bincount takes eight
    # bytes a pixel, and longer.
    n_by_level = np.asarray(Image.fromarray(prob_hw_u8).histogram())[::-1]
    n_taken = np.diff(np.minimum(n_by_level.cumsum(), N_STRONGEST), prepend=0)
    return float(n_taken @ np.arange(255, -1, -1)) / (255 * int(n_taken.sum()))

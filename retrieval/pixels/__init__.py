"""Image files to display-ready grey and what their headers say, or a named error.

Public: `Pixels` here; `Limits` in limits; `read_header`, `read_pixels` and `digest` in read, for trusted files;
`Readers` and `Reading` in sandbox, for all others; `PixelStatistics` in statistics. Importing `sandbox` imports no
decoder: decoders run in processes of their own.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
"""Display-ready grey, rows x columns, 0 black to 1 white."""

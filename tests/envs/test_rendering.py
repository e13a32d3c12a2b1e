"""Pictures of cells and bars."""

import numpy as np

from sb3_ordergrad.envs.rendering import BLUE, GREEN, draw_bars, draw_cells


def test_cells() -> None:
    image = draw_cells(2, 3, {(0, 2): GREEN, (1, 0): BLUE})
    assert image.shape == (64, 96, 3) and image.dtype == np.uint8
    assert image[31, 64].tolist() == list(GREEN) and image[32, 31].tolist() == list(BLUE)
    assert (image == 255).all(axis=2).sum() == 4 * 32 * 32


def test_bars_are_clipped() -> None:
    image = draw_bars([(0.25, BLUE), (-1.0, BLUE), (7.0, GREEN), (float("inf"), GREEN)])
    assert image.shape == (128, 256, 3)
    assert (image < 255).any(axis=2).sum(axis=1)[::32].tolist() == [64, 0, 256, 256]

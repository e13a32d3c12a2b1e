"""Pictures of the environments that have no renderer of their own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
RED, GREEN, BLUE = (230, 80, 70), (60, 180, 75), (50, 90, 220)
CELL = 32  # pixels
BAR_WIDTH, BAR_HEIGHT = 256, 32  # pixels


class RenderedEnv(gym.Env[np.ndarray, ActType], ABC):
    """
    An environment that draws its state, for ``render_mode="rgb_array"``.

    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if it is neither
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode="{render_mode}" is not supported: use "rgb_array" or None')
        self.render_mode = render_mode

    def render(self) -> np.ndarray | None:
        """:return: picture of the state, ``(height, width, 3)`` uint8, or None without a render mode"""
        return None if self.render_mode is None else self._image()

    @abstractmethod
    def _image(self) -> np.ndarray:
        """Draw the state, ``(height, width, 3)`` uint8."""


def draw_cells(rows: int, columns: int, cells: dict[tuple[int, int], tuple[int, int, int]]) -> np.ndarray:
    """
    Draw a grid.

    :param rows: number of rows
    :param columns: number of columns
    :param cells: colours by (row, column), row 0 on top; the other cells are white
    :return: ``(32 * rows, 32 * columns, 3)`` uint8
    """
    image = np.full((rows, columns, 3), WHITE, dtype=np.uint8)
    for cell, colour in cells.items():
        image[cell] = colour
    return image.repeat(CELL, axis=0).repeat(CELL, axis=1)


def draw_bars(bars: Sequence[tuple[float, tuple[int, int, int]]]) -> np.ndarray:
    """
    Draw horizontal bars, one below the other.

    :param bars: length, as a fraction of the width (clipped to [0, 1]), and colour of each
    :return: ``(32 * n_bars, 256, 3)`` uint8
    """
    image = np.full((len(bars), BAR_WIDTH, 3), WHITE, dtype=np.uint8)
    for row, (length, colour) in zip(image, bars, strict=True):
        row[: round(BAR_WIDTH * min(max(length, 0.0), 1.0))] = colour
    return image.repeat(BAR_HEIGHT, axis=0)

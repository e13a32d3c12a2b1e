"""
Weights of the sorted returns of a group, in float64 through log-gamma.

Take a sample of L from a population of M without replacement. The probability that its j-th lowest member is the m-th lowest
of the population (both 1-based) is the table (OrderGrad, arXiv 2606.06096) ::

    H(M, L)[m, j] = C(m-1, j-1) C(M-m, L-j) / C(M, L)

All quantities of the estimator follow from it, with the rank weights alpha of the objective::

    W  = H(N, k)            value
    W- = H(N-1, k)          leave-one-out
    A  = H(N-1, k-1)        include-one, below the included rank, ranks j = 1..k-1
    C  = H(N-1, k-1)        include-one, above the included rank, shifted by one in m and in j
    B  = (N / k) H(N, k)    include-one, the included rank itself

By Pascal's rule the leave-one-out weights ``w = W- alpha`` suffice: the advantages of sorted returns differ by
``a_(t+1) - a_t = (N/k) w_t (R_(t+1) - R_(t))``, and ``W_m = ((N-m) w_m + (m-1) w_(m-1)) / N``.

A fractional L has floor(L) ranks. Go through the population from its lowest member and take each member with probability
``min(1, (L - taken) / left)``: for a whole L this is sampling without replacement, for every L the j-th member taken has a
distribution over m that is continuous in L. It is the formula above with gamma functions for ``m - j <= M - L``; from then on
every member is taken, so that ``m - j = floor(M - L) + 1`` gets the rest. For j = 1 the cumulative sums are
``1 - C(M-m, L) / C(M, L)``, the finite counterpart of ``1 - (1 - F)^L``. Ranks that are counted from the highest member use
the same table upside down.
"""

import math
from functools import lru_cache

import numpy as np

# Entries of a dense table (2 MB of float64); larger tables are computed in blocks of rows
_BLOCK = 2**18


def collapse(population: int, sample: float, rank_weights: np.ndarray) -> np.ndarray:
    """
    Weights of the sorted returns, ``H(M, L) alpha``.

    :param population: M, number of returns
    :param sample: L, an int, or a float between 1 and M for a fractional sample size
    :param rank_weights: alpha, shape ``(floor(L),)``, ascending ranks
    :return: shape ``(M,)``, float64, with the same sum as alpha
    """
    if population == sample:
        return rank_weights.copy()
    if isinstance(sample, int) and np.all(rank_weights == rank_weights[0]):
        # sum_j H[m, j] = L / M, without rounding errors
        return np.full(population, rank_weights[0] * sample / population)
    if population * len(rank_weights) <= _BLOCK:
        return order_table(population, sample) @ rank_weights
    return _collapse_blocks(population, sample, rank_weights)


@lru_cache(maxsize=16)
def order_table(population: int, sample: float) -> np.ndarray:
    """
    The table ``H(M, L)``. It does not depend on the objective and is cached: an annealed objective needs only a product.

    :param population: M, number of returns
    :param sample: L, between 1 and M
    :return: shape ``(M, floor(L))``, float64, read-only
    """
    rows, columns, offsets = _log_parts(population, sample)
    n = len(columns)
    table = _block(rows, columns, offsets, 0, population, 0, n)
    if not isinstance(sample, int):
        ranks = np.arange(n)
        table[population - n + ranks, ranks] = np.maximum(1.0 - table.sum(0), 0.0)
    table.flags.writeable = False
    return table


def _log_parts(population: int, sample: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    ``log H[m, j] = rows[m-1] + columns[j-1] - offsets[m-j + n-1]``: the factorials that depend on m, on j and on m - j; shapes
    ``(M,)``, ``(n,)`` and ``(M + n - 1,)`` with n = floor(L).
    """
    # Imported here, since most imports of the package never need it
    from scipy.special import gammaln

    n = math.floor(sample)
    log_factorial = gammaln(np.arange(1, population + 1, dtype=np.float64))
    log_total = gammaln(population + 1) - gammaln(sample + 1) - gammaln(population - sample + 1)
    rows = log_factorial + log_factorial[::-1] - log_total
    columns = -log_factorial[:n] - gammaln(sample - np.arange(1, n + 1) + 1)
    # The table is zero for m - j < 0 and for m - j > M - L
    offsets = np.full(population + n - 1, np.inf)
    difference = np.arange(math.floor(population - sample) + 1)
    offsets[n - 1 + difference] = log_factorial[difference] + gammaln(population - sample - difference + 1)
    return rows, columns, offsets


def _block(
    rows: np.ndarray, columns: np.ndarray, offsets: np.ndarray, top: int, bottom: int, left: int, right: int
) -> np.ndarray:
    """Rows top..bottom-1 and columns left..right-1 (0-based) of ``H``, without the rest of a fractional L."""
    n = len(columns)
    # Entry [i, j] needs offsets[i - j + n - 1]: sliding windows, read from right to left
    first = top + n - right
    windows = np.lib.stride_tricks.sliding_window_view(offsets[first : bottom + n - 1 - left], right - left)
    return np.exp(rows[top:bottom, None] + columns[None, left:right] - windows[:, ::-1])


def _collapse_blocks(population: int, sample: float, rank_weights: np.ndarray) -> np.ndarray:
    """
    ``H alpha`` without the whole table: row m is L/M times a hypergeometric distribution in j - 1. All but about 1e-25 of it
    lies in a band around its mean (Bernstein's inequality), and only ranks with a weight other than zero are needed.
    """
    rows, columns, offsets = _log_parts(population, sample)
    used = np.flatnonzero(rank_weights)
    variance = (sample - 1) * (population - sample) / (4 * (population - 1)) + 1
    scale = (sample - 1) / (population - 1)
    margin = 40 + 11 * math.sqrt(variance)
    height = max(1, int(_BLOCK / (2 * margin)))
    result, column_sums = np.zeros(population), np.zeros(len(columns))
    for top in range(0, population, height):
        bottom = min(top + height, population)
        band = used[(used >= scale * top - margin) & (used <= scale * bottom + margin)]
        if len(band) > 0:
            left, right = int(band[0]), int(band[-1]) + 1
            block = _block(rows, columns, offsets, top, bottom, left, right)
            result[top:bottom] = block @ rank_weights[left:right]
            column_sums[left:right] += block.sum(0)
    if not isinstance(sample, int):
        result[population - len(columns) + used] += np.maximum(1.0 - column_sums[used], 0.0) * rank_weights[used]
    return result

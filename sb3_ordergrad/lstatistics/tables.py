"""
Combinatorial tables of order statistics, in float64 through log-gamma.

With the sorted returns of a population of M, 1-based rank m, and the j-th order statistic of a sample of size L from it
(OrderGrad, arXiv 2606.06096), all tables of the estimator are one::

    H(M, L)[m, j] = C(m-1, j-1) C(M-m, L-j) / C(M, L)

    W  = H(N, K)            value
    W- = H(N-1, K)          leave-one-out
    A  = H(N-1, K-1)        include-one, below the included rank, ranks j = 1..K-1
    C  = H(N-1, K-1)        include-one, above the included rank, shifted by one in m and in j
    B  = (N / K) H(N, K)    include-one, the included rank itself

What an objective needs is the collapse ``H(M, L) alpha``. Pascal's rule leaves A, B and C unneeded: with ``w = W- alpha`` the
advantages of sorted returns differ by ``a_(t+1) - a_t = (N/K) w_t (R_(t+1) - R_(t))``, and
``W_m = ((N-m) w_m + (m-1) w_(m-1)) / N``.

A fractional L has floor(L) ranks, counted from the lowest return, and the same formula with gamma functions,
``C(n, x) = G(n+1) / (G(x+1) G(n-x+1))``, zero where an argument of G is zero or negative: weights are never negative and
continuous in L from above. Their sums are then 1 and L/M up to a term of the order of 1 / C(M, L).
"""

import math
from functools import lru_cache

import numpy as np

# entries of a dense table (2 MB of float64); larger collapses run over blocks of rows
_BLOCK = 2**18


def collapse(population: int, sample: float, rank_weights: np.ndarray) -> np.ndarray:
    """
    Weights on the sorted returns, ``H(M, L) alpha``.

    :param population: M, number of returns
    :param sample: L, real, between 1 and M
    :param rank_weights: alpha, shape ``(floor(L),)``, ascending ranks
    :return: shape ``(M,)``, float64
    """
    if population == sample:
        return rank_weights.copy()
    if isinstance(sample, int) and np.all(rank_weights == rank_weights[0]):
        # sum_j H[m, j] = L / M: a multiple of the mean stays one, free of rounding
        return np.full(population, rank_weights[0] * sample / population)
    if population * len(rank_weights) <= _BLOCK:
        return order_table(population, sample) @ rank_weights
    return _collapse_blocks(population, sample, rank_weights)


@lru_cache(maxsize=16)
def order_table(population: int, sample: float) -> np.ndarray:
    """
    The table ``H(M, L)``. It does not depend on the objective and is kept, so that annealing costs one product.

    :param population: M, number of returns
    :param sample: L, real, between 1 and M
    :return: shape ``(M, floor(L))``, float64, read-only
    """
    rows, columns, offsets = _log_parts(population, sample)
    table = _block(rows, columns, offsets, 0, population, 0, len(columns))
    table.flags.writeable = False
    return table


def _log_parts(population: int, sample: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    ``log H[m, j] = rows[m-1] + columns[j-1] - offsets[m-j + n-1]``: the factorials that depend on m, on j and on m - j.

    :return: shapes ``(M,)``, ``(n,)`` and ``(M + n - 1,)`` with n = floor(L)
    """
    # Imported here, since scipy would lengthen ``import sb3_ordergrad``
    from scipy.special import gammaln

    n = math.floor(sample)
    log_factorial = gammaln(np.arange(1, population + 1, dtype=np.float64))
    log_total = gammaln(population + 1) - gammaln(sample + 1) - gammaln(population - sample + 1)
    rows = log_factorial + log_factorial[::-1] - log_total
    columns = -log_factorial[:n] - gammaln(sample - np.arange(1, n + 1) + 1)
    # C(m-1, j-1) is zero for m - j < 0; C(M-m, L-j) from m - j = M - L + 1 on, where the gamma function has its first pole
    offsets = np.full(population + n - 1, np.inf)
    difference = np.arange(math.ceil(population - sample) + 1)
    offsets[n - 1 + difference] = log_factorial[difference] + gammaln(population - sample - difference + 1)
    return rows, columns, offsets


def _block(
    rows: np.ndarray, columns: np.ndarray, offsets: np.ndarray, top: int, bottom: int, left: int, right: int
) -> np.ndarray:
    """Rows top..bottom-1 and columns left..right-1 (0-based) of ``H``."""
    n = len(columns)
    # entry [i, j] needs offsets[i - j + n - 1]: sliding windows, read from right to left
    first = top + n - right
    windows = np.lib.stride_tricks.sliding_window_view(offsets[first : bottom + n - 1 - left], right - left)
    return np.exp(rows[top:bottom, None] + columns[None, left:right] - windows[:, ::-1])


def _collapse_blocks(population: int, sample: float, rank_weights: np.ndarray) -> np.ndarray:
    """
    ``H alpha`` without the whole table: row m is L/M times a hypergeometric distribution in j - 1, and only the band around
    its mean that holds all but about 1e-25 of it (Bernstein's inequality) meets the weights that are not zero.
    """
    rows, columns, offsets = _log_parts(population, sample)
    used = np.flatnonzero(rank_weights)
    variance = (sample - 1) * (population - sample) / (4 * (population - 1)) + 1
    scale = (sample - 1) / (population - 1)
    margin = 40 + 11 * math.sqrt(variance)
    height = max(1, int(_BLOCK / (2 * margin)))
    result = np.zeros(population)
    for top in range(0, population, height):
        bottom = min(top + height, population)
        band = used[(used >= scale * top - margin) & (used <= scale * bottom + margin)]
        if len(band) > 0:
            left, right = int(band[0]), int(band[-1]) + 1
            block = _block(rows, columns, offsets, top, bottom, left, right)
            result[top:bottom] = block @ rank_weights[left:right]
    return result

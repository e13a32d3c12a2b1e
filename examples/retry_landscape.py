"""
Why retrying keeps a policy stochastic: the gradient of max@k for a single action, and the paths of Adam.

    python examples/retry_landscape.py --out docs/images/retry_landscape.png

The toy problem of ReMax (arXiv 2606.00151) and ReMAC (arXiv 2606.05888): one state, reward ``r(a) = -a^2 / 2``, policy
``a ~ N(mean, std^2)``, objective ``J_k = E[max of k rewards]``. With ``S(x) = P(|a| > x)`` it is a single integral,
``J_k = -E[min_i a_i^2] / 2 = -int_0^inf x S(x)^k dx``, so that gradients and paths need no sampling. For comparison,
:func:`sampled_gradient` is the pathwise estimator that ReMAC's actor follows.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch as th

from sb3_ordergrad.evaluation.plots import PALETTE
from sb3_ordergrad.lstatistics import LStatistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KS = (1, 2, 4, 8)
ADAM_EPS = (1e-8, 0.1, 1.0)
# Starting points (mean, log std) of the paths; the table and the curves show the first one
STARTS = ((-1.0, 0.5), (-1.8, -1.0), (1.4, -2.0))
LEARNING_RATE = 0.02
MEAN_RANGE, LOG_STD_RANGE = (-2.2, 2.2), (-3.6, 1.0)

NODES, NODE_WEIGHTS = (th.as_tensor(array) for array in np.polynomial.legendre.leggauss(400))


def objective(mean: th.Tensor, log_std: th.Tensor, k: int) -> th.Tensor:
    """
    ``J_k = -int_0^inf x S(x)^k dx`` by Gauss-Legendre quadrature.

    :param mean: mean of the policy, any shape, float64
    :param log_std: logarithm of its standard deviation, the same shape
    :param k: number of tries
    :return: expected best reward, the same shape, differentiable
    """
    mean, std = mean.unsqueeze(-1), log_std.exp().unsqueeze(-1)
    # Beyond nine standard deviations, S is zero in double precision
    limit = (mean.abs() + 9.0 * std).detach()
    x = limit * (NODES + 1.0) / 2.0
    survival = th.special.ndtr((mean - x) / std) + th.special.ndtr((-mean - x) / std)
    return -(x * survival**k * NODE_WEIGHTS * limit / 2.0).sum(-1)


def exact_gradient(points: np.ndarray, k: int) -> np.ndarray:
    """
    :param points: pairs (mean, log std), shape ``(..., 2)``
    :param k: number of tries
    :return: gradient of ``J_k`` in them, the same shape
    """
    x = th.tensor(points, dtype=th.float64, requires_grad=True)
    return th.autograd.grad(objective(x[..., 0], x[..., 1], k).sum(), x)[0].numpy()


def sampled_gradient(
    point: tuple[float, float], k: int, n_action_samples: int = 8, n_estimates: int = 10_000, seed: int = 0
) -> np.ndarray:
    """
    The pathwise estimator: gradient of the unbiased estimate of max@k from ``n_action_samples`` reparameterized actions.

    :param point: mean and log std
    :param k: number of tries, at most ``n_action_samples``
    :param n_action_samples: number of actions per estimate
    :param n_estimates: number of independent estimates
    :param seed: seed of the actions
    :return: estimates of the gradient, shape ``(n_estimates, 2)``
    """
    generator = th.Generator().manual_seed(seed)
    noise = th.randn(n_estimates, n_action_samples, generator=generator, dtype=th.float64)
    x = th.tensor(point, dtype=th.float64).repeat(n_estimates, 1).requires_grad_()
    actions = x[:, :1] + x[:, 1:].exp() * noise
    values = LStatistic(n_action_samples, k, "max").value(-0.5 * actions**2)
    return th.autograd.grad(values.sum(), x)[0].numpy()


def adam_paths(k: int, eps: float, n_steps: int) -> np.ndarray:
    """
    Ascent on ``J_k`` from all of :data:`STARTS`, with PyTorch's Adam and the exact gradient.

    :param k: number of tries
    :param eps: Adam's epsilon
    :param n_steps: number of updates
    :return: (mean, log std) after each update, shape ``(n_steps + 1, number of starts, 2)``
    """
    x = th.tensor(STARTS, dtype=th.float64, requires_grad=True)
    # Adam treats each number separately, so that all starts can share one optimizer
    optimizer = th.optim.Adam([x], lr=LEARNING_RATE, eps=eps, maximize=True)
    path = [x.detach().numpy().copy()]
    for _ in range(n_steps):
        optimizer.zero_grad()
        objective(x[..., 0], x[..., 1], k).sum().backward()
        optimizer.step()
        path.append(x.detach().numpy().copy())
    return np.stack(path)


def _draw_field(ax: "Axes", k: int) -> None:
    """Draw arrows of the gradient, with the same scale for every k."""
    mean, log_std = np.meshgrid(np.linspace(-2.0, 2.0, 11), np.linspace(-3.4, 0.8, 12))
    field = exact_gradient(np.stack([mean, log_std], -1), k)
    ax.quiver(mean, log_std, field[..., 0], field[..., 1], color="0.55", angles="xy", scale_units="xy", scale=6.0, width=0.006)


def draw(paths: dict[tuple[int, float], np.ndarray]) -> "Figure":
    """
    :param paths: those of :func:`adam_paths` by k and Adam eps
    :return: for each k, gradient and paths for each Adam eps (upper row) and log std over the updates (lower row)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.6), layout="constrained")
    axes = figure.subplots(2, len(KS), sharey="row", sharex="row", height_ratios=(1.6, 1.0))
    for column, k in enumerate(KS):
        top, bottom = axes[:, column]
        _draw_field(top, k)
        for eps, color, style in zip(ADAM_EPS, PALETTE[1:], ("-", "--", "-."), strict=False):
            path = paths[k, eps]
            for start in range(len(STARTS)):
                top.plot(*path[:, start].T, color=color, linestyle=style, linewidth=1.8)
                top.plot(*path[-1, start], color=color, marker="o", markersize=4.5)
            bottom.plot(path[:, 0, 1], color=color, linestyle=style, linewidth=1.8, label=f"Adam eps {eps:g}")
        top.plot(*np.transpose(STARTS), color="black", marker="s", markersize=4.5, linestyle="none")
        top.set(title=f"k = {k}", xlabel="mean", xlim=MEAN_RANGE, ylim=LOG_STD_RANGE)
        bottom.set(xlabel="updates", xlim=(0, len(path) - 1))
        for ax in (top, bottom):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("log std")
    axes[1, 0].set_ylabel("log std, upper start")
    axes[1, 0].legend(frameon=False, fontsize="small")
    figure.suptitle("Gradient of max@k (grey), paths of Adam from square to dot", fontsize="medium")
    return figure


def main() -> None:
    """Draw the figure and print where the paths end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("retry_landscape.png"), help="the picture (%(default)s)")
    parser.add_argument("--updates", type=int, default=300, help="length of the paths (%(default)s)")
    args = parser.parse_args()
    paths = {(k, eps): adam_paths(k, eps, args.updates) for k in KS for eps in ADAM_EPS}
    print(f"mean and std after {args.updates} updates from mean {STARTS[0][0]}, std {np.exp(STARTS[0][1]):.2f}\n")
    print("| k | " + " | ".join(f"Adam eps {eps:g}" for eps in ADAM_EPS) + " |")
    print("|---|" + "---|" * len(ADAM_EPS))
    for k in KS:
        ends = [paths[k, eps][-1, 0] for eps in ADAM_EPS]
        # + 0.0 removes the sign of a negative zero
        print(f"| {k} | " + " | ".join(f"{round(mean, 2) + 0.0:.2f}, {np.exp(log_std):.2f}" for mean, log_std in ends) + " |")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(paths).savefig(args.out, dpi=160)
    print(f"\nThe figure is in {args.out}")


if __name__ == "__main__":
    main()

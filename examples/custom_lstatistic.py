"""
Define custom objectives, plot them, and train OrderPPO with them.

    python examples/custom_lstatistic.py

An objective is a vector of rank weights for K returns, worst first. It can be a string, a vector, or a sum of others. The
task is to buy one of four lotteries, whose payments are known exactly; each objective prefers another one. The tables show
the weights, the exact value of every lottery, and what OrderPPO buys after a short training. The figure shows the weights,
and the influence of one episode as a function of its return, among 31 others (the ticks below).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from _common import parse_options, print_origin, run_side_by_side, save_picture
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.evaluation.plots import line_style
from sb3_ordergrad.lstatistics import LStatistic, Objective, ObjectiveLike, exact_lstatistic, rank_weights

K, GROUP_SIZE = 8, 32

OBJECTIVES: dict[str, ObjectiveLike] = {
    "mean": "mean",
    # A string: presets, numbers, + - * /
    "mean - 0.2*gini": "mean - 0.2*gini",
    # A vector: one weight for each of the K returns, worst first
    "a pessimist's weights": [0.3, 0.2, 0.2, 0.1, 0.1, 0.1, 0.0, 0.0],
    # A sum of objectives: the worst and the best return
    "0.7*min + 0.3*max": 0.7 * Objective("min") + 0.3 * Objective("max"),
}


class Lottery(NamedTuple):
    """
    :param payments: possible payments
    :param probs: their probabilities
    """

    payments: tuple[float, ...]
    probs: tuple[float, ...]


LOTTERIES = {
    "bond": Lottery((1.0,), (1.0,)),
    "share": Lottery((0.0, 1.5, 3.5), (0.25, 0.5, 0.25)),
    "venture": Lottery((-2.0, 8.0), (0.6, 0.4)),
    "ticket": Lottery((-0.5, 19.5), (0.92, 0.08)),
}


class LotteryEnv(gym.Env):
    """Episodes of one step: the action is the lottery to buy, the reward its payment."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(len(LOTTERIES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.ones(1, dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        lottery = list(LOTTERIES.values())[action]
        reward = float(self.np_random.choice(lottery.payments, p=lottery.probs))
        return np.ones(1, dtype=np.float32), reward, True, False, {}


def train(objective: ObjectiveLike, seed: int, steps: int) -> np.ndarray:
    """
    :param objective: the objective
    :param seed: seed of the training
    :param steps: environment steps, one purchase each
    :return: probability with which the trained policy buys each lottery, shape (len(LOTTERIES),)
    """
    env = make_vec_env(LotteryEnv, n_envs=32, seed=seed)
    model = OrderPPO(
        "MlpPolicy", env, objective=objective, k=K, group_size=GROUP_SIZE, seed=seed, device="cpu",
        n_steps=8, batch_size=64, n_epochs=4, learning_rate=3e-3,
    )  # fmt: skip
    model.learn(steps)
    every_lottery = th.arange(len(LOTTERIES))
    with th.no_grad():
        log_probs = model.policy.get_distribution(th.ones(len(LOTTERIES), 1)).log_prob(every_lottery)
    return log_probs.exp().numpy()


def policy_value(shares: np.ndarray, objective: ObjectiveLike) -> float:
    """
    :param shares: probability with which each lottery is bought, shape (len(LOTTERIES),)
    :param objective: the objective
    :return: exact value of the objective for K purchases
    """
    payments = np.concatenate([lottery.payments for lottery in LOTTERIES.values()])
    probs = np.concatenate([share * np.array(one.probs) for share, one in zip(shares, LOTTERIES.values(), strict=True)])
    return exact_lstatistic(payments, probs / probs.sum(), K, objective).value


def print_weights() -> None:
    print(f"| objective | weights of {K} returns, worst first |\n|---|---|")
    for name, objective in OBJECTIVES.items():
        print(f"| {name} | {' '.join(f'{weight:.3f}' for weight in rank_weights(objective, K))} |")


def print_purchases(bought: dict[str, list[np.ndarray]]) -> None:
    """
    :param bought: for each objective and seed the probability of each lottery
    """
    print("\nValue of each lottery, what OrderPPO buys (mean over seeds), value of its policy (lowest to highest seed):\n")
    print(f"| objective | {' | '.join(LOTTERIES)} | bought | value of the policy |")
    print("|---|" + "---:|" * len(LOTTERIES) + "---|---:|")
    for name, objective in OBJECTIVES.items():
        values = [policy_value(pure, objective) for pure in np.eye(len(LOTTERIES))]
        cells = [f"**{value:.2f}**" if value == max(values) else f"{value:.2f}" for value in values]
        shares = np.mean(bought[name], axis=0)
        basket = ", ".join(f"{100 * share:.0f} % {one}" for one, share in zip(LOTTERIES, shares, strict=True) if share >= 0.01)
        of_seeds = sorted(policy_value(one, objective) for one in bought[name])
        print(f"| {name} | {' | '.join(cells)} | {basket} | {of_seeds[0]:.2f} to {of_seeds[-1]:.2f} |")


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=12_000, seeds=3)
    from matplotlib.figure import Figure

    print_weights()
    cases = [(objective, seed, options.steps) for objective in OBJECTIVES.values() for seed in range(options.seeds)]
    shares = run_side_by_side(train, cases, options.n_jobs)
    print_purchases({name: shares[i * options.seeds :][: options.seeds] for i, name in enumerate(OBJECTIVES)})

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    weights, influence = figure.subplots(1, 2)
    returns = np.linspace(-3, 3, 400)
    others = np.random.default_rng(0).standard_normal(GROUP_SIZE - 1)
    for index, (name, objective) in enumerate(OBJECTIVES.items()):
        weights.plot(range(1, K + 1), rank_weights(objective, K), marker=".", label=name, **line_style(index))
        influence.plot(returns, LStatistic(GROUP_SIZE, K, objective).influence(returns, others), **line_style(index))
    weights.set(xlabel=f"rank of a return among {K}, worst first", ylabel="weight")
    influence.set(xlabel="return of one episode", ylabel="its influence")
    influence.plot(others, np.full(len(others), influence.get_ylim()[0]), "|", color="0.6")
    weights.legend(frameon=False, fontsize="small")
    for ax in (weights, influence):
        ax.spines[["top", "right"]].set_visible(False)
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()

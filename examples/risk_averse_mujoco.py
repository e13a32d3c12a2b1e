"""
Risk aversion on a MuJoCo task: the CVaR avoids a region where the reward is noisy, the mean ignores it.

    python examples/risk_averse_mujoco.py

In InvertedPendulum-v5 the reward is 1 per step while the pole is up, here for at most 100 steps. Where the cart is right of
the centre, noise with mean 0 and standard deviation 5 is added to every reward. So PPO balances the pole anywhere; OrderPPO
with the mean of the worst quarter as objective balances it on the left.

The CVaR is annealed from the mean over the first 80 % of the training (soft risk): before the pole stays up, dropping it at
once gives the least noisy return, and the CVaR without annealing learns that. The noise is normal and frequent, so there are
no rare losses to smooth. The two runs of a seed differ only in the objective.
"""

from collections.abc import Sequence

import gymnasium as gym
from _common import parse_options, print_origin, save_picture, train_and_compare
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.envs import NoisyRegion, ReturnToDate
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution, plot_return_distributions

MAX_EPISODE_STEPS = 100
LEVEL = 0.25
# The other objective is compared with the first, which is PPO
OBJECTIVES = {"mean (PPO)": "mean", f"cvar:{LEVEL}": f"cvar:{LEVEL}"}
STATISTICS: dict[str, tuple[str, int | None]] = {
    f"CVaR_{LEVEL}": (f"cvar:{LEVEL}", None),
    "mean": ("mean", None),
    "median": ("median", None),
}


def make_risky(env: gym.Env) -> gym.Env:
    """
    :param env: the task
    :return: the task with noisy rewards right of the centre and the return to date and the time in the observation
    """
    # The first entry of the observation is the position of the cart
    noisy = NoisyRegion(env, beyond=0.0, std=5.0, measure=0)
    # The best action for a tail objective depends on the return so far and on the remaining time
    return ReturnToDate(noisy, scale=1.0 / MAX_EPISODE_STEPS)


def make_env(seed: int | None = None) -> VecEnv:
    """
    :param seed: seed of the environments
    :return: 16 environments
    """
    env_kwargs = {"max_episode_steps": MAX_EPISODE_STEPS}
    return make_vec_env("InvertedPendulum-v5", n_envs=16, seed=seed, wrapper_class=make_risky, env_kwargs=env_kwargs)


def train(objective: str, seed: int, steps: int) -> ReturnDistribution:
    """
    :param objective: the objective
    :param seed: seed of the training
    :param steps: environment steps
    :return: 200 fresh episodes of the trained policy
    """
    model = OrderPPO(
        "MlpPolicy", make_env(seed), objective=objective, anneal=0.8, smooth_rare_losses=False, seed=seed,
        device="cpu", n_steps=100, batch_size=400, n_epochs=5, learning_rate=1e-3, gae_lambda=0.95,
    )  # fmt: skip
    model.learn(steps)
    return evaluate_distribution(model, make_env(), n_eval_episodes=200, seed=1000 + seed)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=60_000)
    from matplotlib.figure import Figure

    returns = train_and_compare(train, OBJECTIVES, STATISTICS, options)
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    plot_return_distributions(returns, tail=LEVEL, ax=figure.subplots())
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()

"""
The median and the trimmed mean learn although outliers dominate the mean of the returns.

    python examples/robust_to_outliers.py

In InvertedPendulum-v5 the reward is 1 per step while the pole is up. Here, with probability 0.01 per step, an outlier is
added: 100 times a Student-t variable with 2 degrees of freedom, whose variance is infinite. The outliers are symmetric, so
the optimal policy is that of the task without them, but the mean of a few hundred returns is mostly noise. The median and
the trimmed mean of K = 16 returns ignore the extremes.

Episodes have at most 300 steps. All policies are evaluated by their mean return without outliers. The runs of a seed differ
only in the objective.
"""

from collections.abc import Sequence

import gymnasium as gym
from _common import parse_options, print_origin, save_picture, train_and_compare
from stable_baselines3.common.env_util import make_vec_env

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.envs import HeavyTailReward
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution, plot_return_distributions

ENV_ID = "InvertedPendulum-v5"
# Shorter than the task's own 1000, for an example that takes less than a minute
MAX_EPISODE_STEPS = 300
PROBABILITY, SCALE, DF = 0.01, 100.0, 2.0
# The other objectives are compared with the first, which is PPO
OBJECTIVES = {"mean (PPO)": "mean", "median": "median", "trimmed_mean:0.25:0.25": "trimmed_mean:0.25:0.25"}
STATISTICS: dict[str, tuple[str, int | None]] = {
    "mean": ("mean", None),
    "median": ("median", None),
    "CVaR_0.25": ("cvar:0.25", None),
}


def with_outliers(env: gym.Env) -> gym.Env:
    """
    :param env: the clean task
    :return: the task with outliers in the reward
    """
    return HeavyTailReward(env, probability=PROBABILITY, scale=SCALE, df=DF)


def train(objective: str, seed: int, steps: int) -> ReturnDistribution:
    """
    :param objective: the objective
    :param seed: seed of the training
    :param steps: environment steps
    :return: 100 fresh episodes of the trained policy in the clean task
    """
    env_kwargs = {"max_episode_steps": MAX_EPISODE_STEPS}
    env = make_vec_env(ENV_ID, n_envs=16, seed=seed, wrapper_class=with_outliers, env_kwargs=env_kwargs)
    # PPO's defaults except the rollout length, for all objectives; OrderPPO's own default of gae_lambda depends on them
    model = OrderPPO("MlpPolicy", env, n_steps=128, gae_lambda=0.95, objective=objective, seed=seed, device="cpu")
    model.learn(steps)
    clean_env = make_vec_env(ENV_ID, n_envs=16, env_kwargs=env_kwargs)
    return evaluate_distribution(model, clean_env, n_eval_episodes=100, seed=1000 + seed)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=30_000)
    from matplotlib.figure import Figure

    returns = train_and_compare(train, OBJECTIVES, STATISTICS, options)
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    ax = plot_return_distributions(returns, tail=0, ax=figure.subplots())
    ax.set_ylabel("return without outliers")
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()

"""
Careful or fast: the CVaR against the mean on a MuJoCo task with a rare, expensive event.

    python examples/risk_averse_mujoco.py

FragileHopper-v0 is Hopper-v5 on a machine that breaks when driven fast. Here it is more fragile than by default, so that a
short training sees the risk: in each step above 1 m/s it breaks with probability 0.01, which costs 300 and ends the episode.
Episodes have at most 200 steps.

The two runs of a seed see the same observation and use the same settings, but for `gae_lambda`: each has its objective's
default, PPO 0.95 and the CVaR 0.8.
"""

from collections.abc import Sequence

from _common import parse_options, print_comparison, print_origin, run_side_by_side, save_picture
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.envs import ReturnToDate
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution, plot_return_distributions

ENV_ID = "FragileHopper-v0"
# Above this speed the machine breaks with this probability in each step, at this price
RISK = {"v_max": 1.0, "probability": 0.01, "penalty": -300.0}
# Shorter than the task's own 500, for an example that takes less than a minute
MAX_EPISODE_STEPS = 200
LEVEL = 0.25
# The order objective is compared with the first one, which is PPO
OBJECTIVES = {"mean (PPO)": "mean", f"cvar:{LEVEL}": f"cvar:{LEVEL}"}
STATISTICS: dict[str, tuple[str, int | None]] = {
    "mean": ("mean", None),
    f"CVaR_{LEVEL}": (f"cvar:{LEVEL}", None),
    "median": ("median", None),
}


def train(objective: str, seed: int, steps: int) -> ReturnDistribution:
    """
    :param objective: the objective
    :param seed: of the training
    :param steps: environment steps
    :return: 100 fresh episodes of the trained policy
    """
    # A policy that minds the tail must know what the episode has collected and how much of it is left
    env_kwargs = {**RISK, "max_episode_steps": MAX_EPISODE_STEPS}
    env = make_vec_env(ENV_ID, n_envs=16, seed=seed, wrapper_class=ReturnToDate, env_kwargs=env_kwargs)
    model = OrderPPO(
        "MlpPolicy", VecNormalize(env), objective=objective, seed=seed, device="cpu",
        n_steps=200, batch_size=400, n_epochs=5, learning_rate=1e-3, policy_kwargs={"log_std_init": -1.0},
    )  # fmt: skip
    model.learn(steps)
    # The running statistics of VecNormalize stay as they are, and returns are raw
    return evaluate_distribution(model, model.get_env(), n_eval_episodes=100, seed=1000 + seed)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=48_000, seeds=3)
    from matplotlib.figure import Figure

    seeds = range(options.seeds)
    cases = [(objective, seed, options.steps) for objective in OBJECTIVES.values() for seed in seeds]
    runs = iter(run_side_by_side(train, cases, options.n_jobs))
    results = {("OrderPPO", name): {seed: next(runs) for seed in seeds} for name in OBJECTIVES}
    print_comparison(results, STATISTICS)

    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    returns = {name: [run.returns for run in by_seed.values()] for (_, name), by_seed in results.items()}
    plot_return_distributions(returns, tail=LEVEL, ax=figure.subplots())
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()

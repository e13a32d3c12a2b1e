"""
A tour in cells: train PPO and OrderPPO on a task with a rare, large loss, look at their returns, and compare them.

    python examples/tour.py

takes about a minute and writes results/tour/distributions.png and results/tour/weights.png. Editors such as VS Code, Spyder
and PyCharm run the cells (``# %%``) one by one; `jupytext --to notebook examples/tour.py` makes a notebook of them.
"""

# %% [markdown]
# ## The task
# A point is rewarded for its speed. Above a speed of 1, it breaks with probability 0.002 in each step, which costs 25 and
# ends the episode. `ReturnToDate` appends to the observation what a risk-averse agent has to know: the reward collected so
# far, and the time.

# %%
from pathlib import Path

import torch as th
from matplotlib.figure import Figure
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.envs import ReturnToDate
from sb3_ordergrad.evaluation import evaluate_distribution, plot_rank_weights, plot_return_distributions

STEPS = 200_000
OBJECTIVE = "cvar:0.25"
OUT = Path("results/tour")
# Small networks do not benefit from threads
th.set_num_threads(1)


def make_env(seed: int) -> VecEnv:
    return make_vec_env("FragilePoint-v0", n_envs=16, seed=seed, wrapper_class=ReturnToDate, wrapper_kwargs={"scale": 0.1})


# %% [markdown]
# ## Train
# Both algorithms have the same settings. The only difference is the objective: PPO maximises the mean return, OrderPPO the
# mean of the worst quarter of the returns.

# %%
settings = {
    "n_steps": 400,
    "batch_size": 400,
    "learning_rate": 1e-3,
    "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
    "seed": 0,
    "device": "cpu",
}
ppo = PPO("MlpPolicy", make_env(seed=0), **settings).learn(STEPS)
careful = OrderPPO("MlpPolicy", make_env(seed=0), objective=OBJECTIVE, **settings).learn(STEPS)

# %% [markdown]
# ## Look
# 400 fresh episodes of each policy. `rollout/ep_rew_mean` shows the mean alone; the objective is about the whole
# distribution.

# %%
returns_ppo = evaluate_distribution(ppo, make_env(seed=1), n_eval_episodes=400, seed=0)
returns_careful = evaluate_distribution(careful, make_env(seed=1), n_eval_episodes=400, seed=0)
for name, returns in (("PPO", returns_ppo), ("OrderPPO", returns_careful)):
    print(f"{name}: mean {returns.mean():.1f}, CVaR_0.25 {returns.cvar(0.25):.1f}, best of 8 {returns.best_of(8):.1f}")

# %% [markdown]
# The quantile functions show what the objective does: the worst episodes get better, the best ones may get worse.

# %%
OUT.mkdir(parents=True, exist_ok=True)
figure = Figure(figsize=(4.8, 3.0), layout="constrained")
plot_return_distributions({"PPO": [returns_ppo], "OrderPPO": [returns_careful]}, objective=OBJECTIVE, ax=figure.subplots())
figure.savefig(OUT / "distributions.png", dpi=160)

# %% [markdown]
# ## Compare
# Differences with 95 % intervals. They reflect the episodes of these two policies, not other training seeds:
# `python -m sb3_ordergrad.compare --env FragilePoint-v0 --seeds 5` trains several.

# %%
print(returns_careful.compare(returns_ppo))

# %% [markdown]
# ## What the objective weighs
# An objective is a vector of weights for the sorted returns of k episodes. Left: the weights; right: how much one episode
# counts, depending on its return.

# %%
figure = Figure(figsize=(6.6, 2.8), layout="constrained")
axes = tuple(figure.subplots(1, 2))
for objective in ("mean", OBJECTIVE, "mean - 0.5*gini"):
    plot_rank_weights(objective, k=8, axes=axes)
figure.savefig(OUT / "weights.png", dpi=160)

"""
The policy gradient of OrderPPO against the exact one, on an MDP small enough to enumerate.

    python examples/unbiasedness.py
    python examples/unbiasedness.py --figure docs/images/unbiasedness.png

OrderPPO collects the rollouts: policy, recorder, ranking, pseudo-rewards and advantages are those of its training, with gamma
= lambda = 1 and a learning rate of zero. Each rollout gives one estimate of the gradient of J in the logits of the policy,
``(1/N) sum_i sum_t A_t grad log pi(a_t|s_t)`` over its N episodes. The exact gradient comes from all trajectories of the MDP
and the exact L-statistic of their returns. Rare losses stay as sampled, since their learned mean has a bias. If the estimator
is unbiased, each z-score (difference over standard error) is standard normal. For comparison, two rows have the z-scores
against the gradient of the mean in place of that of CVaR.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from _common import save_picture
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.evaluation.plots import finish, line_style
from sb3_ordergrad.lstatistics import ObjectiveLike, exact_lstatistic

OBJECTIVES = ("mean", "cvar:0.25", "max", "median", "mean - 0.5*gini")
CREDITS = ("dense", "projected", "terminal")

HORIZON, N_STATES, N_ACTIONS = 3, 3, 2
START = 0
# Probability of moving to the next state, by state and action
LEAVE = np.array([[0.3, 0.8], [0.6, 0.2], [0.5, 0.9]])
# The two possible rewards by state and action; the second has probability RARE
REWARD = np.array([[[1.0, 1.0], [2.0, -3.0]], [[0.0, 4.0], [1.5, 0.5]], [[-1.0, 3.0], [2.5, -2.5]]])
RARE = 0.25


class SmallMDP(gym.Env):
    """
    Three states in a ring, two actions, three steps. A step either stays or moves to the next state, and gives one of two
    rewards. The observation is the one-hot state.
    """

    observation_space = spaces.Box(0.0, 1.0, (N_STATES,))
    action_space = spaces.Discrete(N_ACTIONS)

    def _observe(self) -> np.ndarray:
        return np.eye(N_STATES, dtype=np.float32)[self.state]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.n_steps = START, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        rare = self.np_random.random() < RARE
        reward = float(REWARD[self.state, action, int(rare)])
        if self.np_random.random() < LEAVE[self.state, action]:
            self.state = (self.state + 1) % N_STATES
        self.n_steps += 1
        return self._observe(), reward, self.n_steps == HORIZON, False, {}


class Trajectories(NamedTuple):
    """
    All trajectories of the MDP.

    :param states: shape (M, HORIZON)
    :param actions: shape (M, HORIZON)
    :param returns: shape (M,)
    :param chance: product of the environment's transition and reward probabilities, shape (M,)
    """

    states: np.ndarray
    actions: np.ndarray
    returns: np.ndarray
    chance: np.ndarray


def enumerate_trajectories() -> Trajectories:
    """
    :return: every sequence of actions, moves and rewards
    """
    rows: list[tuple[list[int], list[int], float, float]] = []
    for outcome in itertools.product(itertools.product(range(N_ACTIONS), (0, 1), (0, 1)), repeat=HORIZON):
        state, total, probability = START, 0.0, 1.0
        states: list[int] = []
        for action, moves, rare in outcome:
            states.append(state)
            total += REWARD[state, action, rare]
            probability *= RARE if rare else 1.0 - RARE
            probability *= LEAVE[state, action] if moves else 1.0 - LEAVE[state, action]
            state = (state + moves) % N_STATES
        rows.append((states, [action for action, _, _ in outcome], total, probability))
    return Trajectories(*(np.array(column) for column in zip(*rows, strict=True)))


def actor(model: OrderPPO) -> th.nn.Linear:
    """
    :param model: a model with a linear actor
    :return: the actor's layer
    """
    layer = model.policy.action_net
    assert isinstance(layer, th.nn.Linear)
    return layer


def logit_gradient(total: th.Tensor, model: OrderPPO) -> np.ndarray:
    """
    :param total: a scalar that depends on the policy
    :param model: a model with a linear actor
    :return: its gradient in the logit of action 1 in each state, shape (N_STATES,)
    """
    return th.autograd.grad(total, actor(model).weight)[0][1].numpy()


def log_probability(model: OrderPPO, states: np.ndarray, actions: np.ndarray) -> th.Tensor:
    """
    :param model: the model
    :param states: any shape
    :param actions: the same shape
    :return: ``log pi(a|s)``, the same shape, with a gradient
    """
    observations = th.as_tensor(np.eye(N_STATES, dtype=np.float32)[states.ravel()])
    distribution = model.policy.get_distribution(observations)
    return distribution.log_prob(th.as_tensor(actions.ravel())).reshape(actions.shape)


def exact_gradient(model: OrderPPO, objective: ObjectiveLike, k: float) -> tuple[float, np.ndarray]:
    """
    ``grad J = k sum_tau p(tau) a(R(tau)) grad log p(tau)`` over all trajectories tau.

    :param model: its policy
    :param objective: the objective
    :param k: sample size
    :return: J, and its gradient in the logits, shape (N_STATES,)
    """
    trajectories = enumerate_trajectories()
    log_policy = log_probability(model, trajectories.states, trajectories.actions).sum(1)
    probabilities = trajectories.chance * np.exp(log_policy.detach().numpy().astype(np.float64))
    exact = exact_lstatistic(trajectories.returns, probabilities / probabilities.sum(), k, objective)
    weights = th.as_tensor(k * probabilities * exact.advantages)
    return exact.value, logit_gradient((weights * log_policy).sum(), model)


def make_model(objective: ObjectiveLike, credit: str, k: float, n_episodes: int, seed: int) -> OrderPPO:
    """
    :param objective: the objective
    :param credit: the credit
    :param k: sample size
    :param n_episodes: episodes of a rollout, which form one group
    :param seed: seed of policy and environments
    :return: a model with a linear actor, an untrained linear critic and a learning rate of zero
    """
    model = OrderPPO(
        "MlpPolicy", DummyVecEnv([SmallMDP] * n_episodes), n_steps=HORIZON, batch_size=HORIZON * n_episodes, learning_rate=0.0,
        gamma=1.0, gae_lambda=1.0, objective=objective, anneal=0.0, credit=credit, k=k, group_size=n_episodes, seed=seed,
        smooth_rare_losses=False, device="cpu", policy_kwargs={"net_arch": [], "ortho_init": False},
    )  # fmt: skip
    # A policy far from uniform, without bias: the weights are the logits
    with th.no_grad():
        actor(model).weight.copy_(th.tensor([[0.0, 0.0, 0.0], [0.8, -0.5, 0.2]]))
        actor(model).bias.zero_()
    return model


def sampled_gradients(model: OrderPPO, n_rollouts: int) -> np.ndarray:
    """
    Gradient estimates from OrderPPO's rollouts.

    :param model: the model
    :param n_rollouts: number of estimates
    :return: one estimate per row, shape (n_rollouts, N_STATES)
    """
    _, callback = model._setup_learn(n_rollouts * HORIZON * model.n_envs)
    callback.on_training_start({}, {})
    buffer, rows = model.rollout_buffer, []
    for _ in range(n_rollouts):
        model.collect_rollouts(model.env, callback, buffer, HORIZON)  # type: ignore[arg-type]
        # Undo the scale of the value targets; the critic stays an arbitrary baseline
        scale = model.logger.name_to_value.get("train/reward_scale", 1.0)
        advantages = th.as_tensor(buffer.returns / scale - buffer.values)
        states = buffer.observations.argmax(-1)
        log_probs = log_probability(model, states, buffer.actions[..., 0].astype(np.int64))
        rows.append(logit_gradient((advantages * log_probs).sum() / model.n_envs, model))
    return np.array(rows)


def z_scores(estimates: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    :param estimates: independent estimates, shape (n, N_STATES)
    :param exact: their expected mean, shape (N_STATES,)
    :return: mean, standard error and z-score of each component, shape (N_STATES,) each
    """
    mean, error = estimates.mean(0), estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return mean, error, (mean - exact) / error


def draw(exact: dict[str, np.ndarray], estimates: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """
    :param exact: gradient by objective, shape (N_STATES,)
    :param estimates: mean and standard error by objective and credit, shape (N_STATES,) each
    :param path: of the picture
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 3.4), layout="constrained")
    axes = figure.subplots(1, N_STATES, sharey=True)
    rows = np.arange(len(exact))
    for state, ax in enumerate(axes):
        ax.vlines([gradient[state] for gradient in exact.values()], rows - 0.4, rows + 0.4, color="0.7", lw=3, label="exact")
        for index, (credit, marker) in enumerate(zip(CREDITS, "os^", strict=True)):
            mean, error = np.array([estimates[objective, credit] for objective in exact])[:, :, state].T
            style = {"color": line_style(index)["color"], "fmt": marker, "markersize": 3.5, "label": credit}
            ax.errorbar(mean, rows + 0.25 * (index - 1), xerr=2 * error, linewidth=1, **style)
        ax.set_title(f"state {state}", fontsize="medium")
        ax.locator_params(axis="x", nbins=4)
        finish(ax)
        ax.get_legend().remove()
    axes[0].set_yticks(rows, list(exact))
    axes[0].invert_yaxis()
    figure.supxlabel("gradient of the objective in the logit of the state", fontsize="medium")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False, fontsize="small")
    save_picture(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=500, help="gradient estimates for each objective and credit")
    parser.add_argument("--episodes", type=int, default=64, help="episodes of a rollout, N")
    parser.add_argument("--k", type=float, default=8, help="sample size, K")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the estimates with two standard errors")
    args = parser.parse_args()
    gradients: dict[str, np.ndarray] = {}
    drawn: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    n_trajectories = len(enumerate_trajectories().returns)
    print(f"{args.rollouts} rollouts of N = {args.episodes} episodes, K = {args.k:g}, {n_trajectories} trajectories;")
    print("for the logit in each of the three states: exact gradient; mean estimate, its standard error (z-score)\n")
    print("| objective | gradient | J | state 0 | state 1 | state 2 |")
    print("|---|---|---:|---|---|---|")
    for objective in OBJECTIVES:
        for number, credit in enumerate(CREDITS):
            model = make_model(objective, credit, args.k, args.episodes, args.seed)
            estimates = sampled_gradients(model, args.rollouts)
            value, exact = exact_gradient(model, objective, args.k)
            if number == 0:
                print(f"| {objective} | exact | {value:.3f} | {' | '.join(f'{g:+.4f}' for g in exact)} |")
            mean, error, scores = z_scores(estimates, exact)
            gradients[objective], drawn[objective, credit] = exact, (mean, error)
            cells = [f"{m:+.4f} +- {e:.4f} ({z:+.1f})" for m, e, z in zip(mean, error, scores, strict=True)]
            print(f"| {objective} | {credit} | | {' | '.join(cells)} |", flush=True)
            if objective == "cvar:0.25" and credit != "projected":
                scores = z_scores(estimates, exact_gradient(model, "mean", args.k)[1])[2]
                cells = [f"({z:+.1f})" for z in scores]
                print(f"| {objective} against the gradient of the mean | {credit} | | {' | '.join(cells)} |", flush=True)
    if args.figure is not None:
        draw(gradients, drawn, args.figure)


if __name__ == "__main__":
    main()

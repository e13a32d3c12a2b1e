"""
Return distributions of simple policies on the environments, as the tables of docs/reference/environments.md.

    python benchmarks/random_policies.py --episodes 1000
    python benchmarks/random_policies.py --episodes 1000 --env SparseReacher-v0
    python benchmarks/random_policies.py --episodes 1000 --env GuardedMaze-v1 --figure docs/images/maze.png

Uniform random actions everywhere; no torque on the robots and no engine of the lander; the same stake in every round of the
betting game; no trade, a fixed number of servers, an option held to its end; scripted walks along the short (guarded) and the
long way of the Guarded Maze, which show roughly what a mean-optimal and a risk-averse agent can reach.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import drawing
import gymnasium as gym
import numpy as np

from sb3_ordergrad.envs import guarded_maze
from sb3_ordergrad.evaluation import cvar, plot_return_distributions
from sb3_ordergrad.evaluation.plots import line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Policy = Callable[[gym.Env], Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ROBOTS = (
    "RiskyHalfCheetah-v0",
    "RiskyHopper-v0",
    "RiskyWalker2d-v0",
    "FragileHalfCheetah-v0",
    "FragileHopper-v0",
    "SparseReacher-v0",
    "NoisyInvertedPendulum-v0",
    "NoisyHalfCheetah-v0",
    "NoisyAnt-v0",
    "NoisySwimmer-v0",
)

# Corners of the two ways to the goal cell (6, 2), as (x, y), reached along y, x and y in turn; None: wherever the walk began
Corner = tuple[float | None, float]
SHORT_WAY: tuple[Corner, ...] = ((None, 1.0), (6.0, 1.0), (6.0, 2.0))
LONG_WAY: tuple[Corner, ...] = ((2.0, 6.0), (6.0, 6.0), (6.0, 2.0))


def random_action(env: gym.Env) -> Any:
    """
    :param env: environment with its action space seeded
    :return: a uniform random action
    """
    return env.action_space.sample()


def zero_action(env: gym.Env) -> Any:
    """
    :param env: environment with a Box action space
    :return: no torque
    """
    return np.zeros(env.action_space.shape or (), dtype=np.float32)


def always(action: int) -> Policy:
    """
    :param action: of a Discrete space
    :return: the policy that does nothing else
    """
    return lambda env: action


def servers(number: int) -> Policy:
    """
    :param number: of servers, from the start
    :return: the policy that runs this many
    """

    def policy(env: gym.Env) -> int:
        task: Any = env.unwrapped
        return int(task.n_servers < number)

    return policy


def walk(corners: tuple[Corner, ...]) -> Policy:
    """
    A scripted walk through the Guarded Maze from corner to corner. It returns to its line when more than half a cell off.

    :param corners: positions to pass, in order; a corner is passed within half a cell on both axes
    :return: the policy
    """
    passed = 0

    def policy(env: gym.Env) -> int:
        nonlocal passed
        maze: Any = env.unwrapped
        if maze.n_steps == 0:
            passed = 0
        while True:
            x, y = corners[passed]
            dx, dy = 0.0 if x is None else x - maze.x, y - maze.y
            if max(abs(dx), abs(dy)) >= 0.5 or passed == len(corners) - 1:
                break
            passed += 1
        along_y = passed % 2 == 0
        if abs(dx if along_y else dy) > 0.5:
            along_y = not along_y
        if along_y:
            return 3 if dy > 0 else 2
        return 1 if dx > 0 else 0

    return policy


def rollout_returns(env: gym.Env, policy: Policy, n_episodes: int, seed: int) -> tuple[np.ndarray, int]:
    """
    :param env: environment with a time limit
    :param policy: from the environment to an action
    :param n_episodes: number of episodes
    :param seed: of the environment and its action space
    :return: undiscounted returns, ``(n_episodes,)``, and the number of steps taken
    """
    returns = np.zeros(n_episodes)
    n_steps = 0
    env.action_space.seed(seed)
    for episode in range(n_episodes):
        env.reset(seed=seed if episode == 0 else None)
        done = False
        while not done:
            _, reward, terminated, truncated, _ = env.step(policy(env))
            returns[episode] += float(reward)
            n_steps += 1
            done = terminated or truncated
    return returns, n_steps


def positions(policy: Policy, seed: int) -> np.ndarray:
    """
    :param policy: a walk through the Guarded Maze
    :param seed: of the episode
    :return: the positions (row, column) of one episode, ``(steps + 1, 2)``
    """
    env = gym.make("GuardedMaze-v1")
    maze: Any = env.unwrapped
    env.reset(seed=seed)
    path, done = [(maze.x, maze.y)], False
    while not done:
        _, _, terminated, truncated, _ = env.step(policy(env))
        path.append((maze.x, maze.y))
        done = terminated or truncated
    return np.array(path)


def draw_map(ax: "Axes", walks: dict[str, Policy], seed: int) -> None:
    """The Guarded Maze, rows downwards, with one episode of each walk from the same start."""
    from matplotlib.patches import Rectangle

    last = guarded_maze.SIZE - 1
    border = {(row, column) for row in range(last + 1) for column in range(last + 1) if {row, column} & {0, last}}
    for row, column in border | set(guarded_maze.INNER_WALLS):
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="0.45"))
    for (row, column), hatch in ((guarded_maze.GUARD, "////"), (guarded_maze.GOAL, "....")):
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.92", edgecolor="0.6", hatch=hatch))
    # The walls beside the two cells
    text = {"ha": "center", "va": "center", "color": "white", "fontsize": "x-small"}
    ax.annotate("guard", (0, guarded_maze.GUARD[0]), **text)
    ax.annotate("goal", (guarded_maze.GOAL[1], last), **text)
    width = guarded_maze.START_HIGH - guarded_maze.START_LOW
    corner = (guarded_maze.START_LOW, guarded_maze.START_LOW)
    ax.add_patch(Rectangle(corner, width, width, fill=False, linestyle="--", edgecolor="0.45"))
    ax.annotate("start", (guarded_maze.START_HIGH - 0.1, guarded_maze.START_LOW + 0.35), ha="right", fontsize="x-small")
    for index, (name, policy) in enumerate(walks.items()):
        path = positions(policy, seed)
        ax.plot(path[:, 1], path[:, 0], marker=drawing.MARKERS[index], markersize=3, label=name, **line_style(index))
    ax.set(xlim=(-0.5, last + 0.5), ylim=(last + 0.5, -0.5), xlabel="column", ylabel="row", aspect="equal")


def draw_maze(walks: dict[str, Policy], n_episodes: int, seed: int, path: Path) -> None:
    """Draw the map of the Guarded Maze and the quantile functions of the walks."""
    returns = {name: [rollout_returns(gym.make("GuardedMaze-v1"), walk, n_episodes, seed)[0]] for name, walk in walks.items()}
    figure = drawing.new_figure(6.6, 3.3)
    axes = figure.subplots(1, 2)
    draw_map(axes[0], walks, seed)
    plot_return_distributions(returns, 0.05, axes[1])
    drawing.save(figure, path)


def maze_speed(n_steps: int = 200_000) -> float:
    """
    :param n_steps: number of timed steps
    :return: steps per second of the bare maze, resets included
    """
    maze: Any = gym.make("GuardedMaze-v1").unwrapped
    actions = np.random.default_rng(0).integers(4, size=n_steps).tolist()
    maze.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        if maze.step(action)[2] or maze.n_steps == 160:
            maze.reset()
    return n_steps / (time.perf_counter() - start)


def simple_policies() -> dict[str, dict[str, Policy]]:
    """Policies by environment and name, "random" first."""
    robot_policies: dict[str, Policy] = {"random": random_action, "zero action": zero_action}
    walks: dict[str, Policy] = {"random": random_action, "short way": walk(SHORT_WAY), "long way": walk(LONG_WAY)}
    bets: dict[str, Policy] = {"random": random_action, "no bet": always(0), "always 5/8": always(5), "always 8/8": always(8)}
    return {
        **dict.fromkeys(("GuardedMaze-v0", "GuardedMaze-v1", "GuardedMazeFixedStart-v0"), walks),
        **dict.fromkeys(("BettingGame-v0", "BettingGameCroppedStake-v0"), bets),
        "StochasticCliffWalking-v0": {"random": random_action, "always right": always(1)},
        "MeanReversionTrading-v0": {"random": random_action, "no trade": always(10)},
        "AmericanPut-v0": {"random": random_action, "hold": always(0)},
        "ServerAllocation-v0": {"random": random_action, "four servers": always(0), "five servers": servers(5)},
        "NoisyLunarLander-v0": {"random": random_action, "no engine": always(0)},
        **dict.fromkeys(ROBOTS, robot_policies),
    }


def main() -> None:
    policies = simple_policies()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=list(policies), default=list(policies), help="environments (all)")
    parser.add_argument("--episodes", type=int, default=1000, help="per environment and policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the two ways through the Guarded Maze")
    args = parser.parse_args()
    if args.figure is not None:
        walks = {name: policy for name, policy in policies["GuardedMaze-v1"].items() if name != "random"}
        draw_maze(walks, args.episodes, args.seed, args.figure)

    quantile_heads = " | ".join(f"q{level:g}" for level in QUANTILES)
    print(f"| environment | policy | mean | CVaR_0.1 | CVaR_0.05 | {quantile_heads} | mean length |")
    print("|---|---|" + "---:|" * (len(QUANTILES) + 4))
    for env_id in args.env:
        for name, policy in policies[env_id].items():
            env = gym.make(env_id)
            returns, n_steps = rollout_returns(env, policy, args.episodes, args.seed)
            env.close()
            figures = [returns.mean(), float(cvar(returns, 0.1)), float(cvar(returns, 0.05)), *np.quantile(returns, QUANTILES)]
            digits = 1 if np.abs(returns).max() > 10.0 else 3
            columns = " | ".join(f"{x:.{digits}f}" for x in figures)
            print(f"| {env_id} | {name} | {columns} | {n_steps / args.episodes:.1f} |")
    if "GuardedMaze-v1" in args.env:
        print(f"\nGuardedMaze alone: {maze_speed():,.0f} steps per second")


if __name__ == "__main__":
    main()

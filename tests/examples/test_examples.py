"""Every example runs with a tiny budget, and the docs show its output."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch as th
from gymnasium.utils.env_checker import check_env
from repository import EXAMPLES, ROOT, load_script

from sb3_ordergrad.lstatistics import exact_lstatistic

# Steps of a tiny training (None: no training), and texts in the output
TINY: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "advantages_for_llm_groups": (None, ("GRPO", "max@4", "| prompt | rewards | advantages |")),
    "best_of_k_discovery": (2048, ("best-of-8", "max minus mean (PPO)")),
    "custom_lstatistic": (512, ("mean - 0.2*gini", "0.7*min + 0.3*max", "value of the policy")),
    "risk_averse_mujoco": (3200, ("CVaR_0.25", "cvar:0.25 minus mean (PPO)")),
    "robust_to_outliers": (2048, ("median minus mean (PPO)", "trimmed_mean:0.25:0.25")),
}


def load(name: str) -> ModuleType:
    return load_script(EXAMPLES / f"{name}.py")


def is_figure(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_example_prints_tables_and_saves_a_figure(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps, wanted = TINY[name]
    training = [] if steps is None else ["--steps", str(steps), "--seeds", "2", "--n-jobs", "1"]
    figure = tmp_path / "new" / f"{name}.png"
    load(name).main([*training, "--out", str(figure)])
    printed = capsys.readouterr()
    for text in (*wanted, f"`python examples/{name}.py", "- commit: ", "- machine: ", f"- figure: {figure}"):
        assert text in printed.out, text
    assert "nan" not in printed.out
    assert is_figure(figure)
    assert [path.name for path in figure.parent.iterdir()] == [figure.name]
    if steps is not None:
        assert "- seeds: 0, 1" in printed.out
        # The progress bar is complete
        assert "100%" in printed.err


@pytest.mark.slow
def test_example_is_one_command(tmp_path: Path) -> None:
    """Without arguments, from any folder, the figure is written to a folder of results."""
    command = [sys.executable, str(EXAMPLES / "advantages_for_llm_groups.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert is_figure(tmp_path / "results" / "examples" / "advantages_for_llm_groups.png")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_lotteries_have_different_favourites() -> None:
    example = load("custom_lstatistic")
    pure = np.eye(len(example.LOTTERIES))
    favourites = []
    for objective in example.OBJECTIVES.values():
        values = [example.policy_value(shares, objective) for shares in pure]
        exact = [exact_lstatistic(*lottery, example.K, objective).value for lottery in example.LOTTERIES.values()]
        np.testing.assert_allclose(values, exact, rtol=1e-12)
        favourites.append(int(np.argmax(values)))
    assert sorted(favourites) == [0, 1, 2, 3]


def test_grouped_loss_has_the_gradient_of_the_objective() -> None:
    """The mean gradient over groups drawn from a softmax policy is that of max@K, which is enumerated."""
    example = load("advantages_for_llm_groups")
    n, k, n_groups = 6, 3, 40_000
    rewards = th.tensor([0.0, 0.5, 1.0], dtype=th.float64)
    logits = th.tensor([0.5, 0.2, -0.8], dtype=th.float64, requires_grad=True)
    probs = logits.detach().softmax(0).numpy()
    exact = k * probs * exact_lstatistic(rewards.numpy(), probs, k, "max").advantages
    drawn = th.multinomial(th.as_tensor(probs), n_groups * n, True, generator=th.Generator().manual_seed(0)).view(n_groups, n)
    advantages = example.order_advantages("max", n, k)(rewards[drawn])
    one_hot = th.nn.functional.one_hot(drawn, 3) - logits.detach().softmax(0)
    per_group = (advantages[..., None] * one_hot).mean(1).numpy()
    error = per_group.std(0, ddof=1) / np.sqrt(n_groups)
    assert (np.abs(per_group.mean(0) - exact) < 4 * error).all()
    # The loss of the example has that gradient
    example.policy_loss(logits.log_softmax(0)[drawn], advantages).backward()
    assert logits.grad is not None
    np.testing.assert_allclose(-logits.grad.numpy(), per_group.mean(0), rtol=1e-9)


def test_treasure_walk() -> None:
    """Rewards computed by hand, and the probabilities in the docstring of the example."""
    example = load("best_of_k_discovery")
    env = example.TreasureWalk()
    check_env(env, skip_render_check=True)
    for action, steps, reward in ((0, 2, example.COIN), (1, 20, example.TREASURE)):
        env.reset(seed=0)
        outcomes = [env.step(action) for _ in range(steps)]
        assert [outcome[1] for outcome in outcomes] == [0.0] * (steps - 1) + [reward]
        assert [outcome[2] for outcome in outcomes] == [False] * (steps - 1) + [True]
    env.reset(seed=0)
    assert [env.step(i % 2)[3] for i in range(60)] == [False] * 59 + [True]

    chance = np.zeros(env.left + env.right + 1)
    chance[env.left] = 1.0
    found = np.zeros(2)
    for _ in range(env.max_steps):
        chance = 0.5 * (np.append(chance[1:], 0.0) + np.append(0.0, chance[:-1]))
        found += chance[[0, -1]]
        chance[[0, -1]] = 0.0
    np.testing.assert_allclose(found, [0.80, 0.008], rtol=0.01)


def test_figures_of_the_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("parameter_figures")
    # in the tail: more with a larger k
    in_tail = [example.weights(k)[: round(example.LEVEL * example.GROUP_SIZE)].mean() * example.LEVEL for k in (4, 16, 80)]
    np.testing.assert_allclose(in_tail, [0.19, 0.58, 0.87], atol=0.005)
    assert example.weights(80).mean() == pytest.approx(1)
    progress, values, shares = example.shares()
    rises = np.diff(shares) > 0
    # one comparison after the objective has stopped to improve, and not during the wait
    assert not rises[progress[1:] < 0.3].any() and not rises[(progress[1:] > 0.4) & (progress[1:] < 0.6)].any()
    assert 0.2 < shares[progress == 0.6][0] < shares[-1] == 1 and values[0] < values[-1]
    monkeypatch.setattr(sys, "argv", ["parameter_figures.py", "--out", str(tmp_path)])
    example.main()
    assert is_figure(tmp_path / "sample_size.png") and is_figure(tmp_path / "annealing.png")


def test_docs_show_every_example() -> None:
    page = (ROOT / "docs" / "experiments" / "examples.md").read_text(encoding="utf-8")
    images = set(re.findall(r"!\[[^\]]+\]\(../images/([^)]+)\)", page))
    for script in EXAMPLES.glob("[!_]*.py"):
        assert f"`python examples/{script.name}" in page, script.name
    for name in TINY:
        assert f"example_{name}.png" in images, name
    for image in images:
        assert is_figure(ROOT / "docs" / "images" / image), image
    assert {path.name for path in (ROOT / "docs" / "images").glob("example_*.png")} <= images

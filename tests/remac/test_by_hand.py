"""What ReMAC does by hand has the bits of autograd, and is left to autograd wherever there is more than plain networks."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from toy_envs import ScaledExtractor, ToyEnv

from sb3_ordergrad import ReMAC
from sb3_ordergrad.remac.actor_gradient import action_gradient
from sb3_ordergrad.remac.critics import plain_networks, set_critic_gradient, smallest_values
from sb3_ordergrad.remac.mlp import Mlp, Scratch
from sb3_ordergrad.remac.samples import plain_network, sample_actions

ACTION_DIM = 2
NETWORKS = pytest.mark.parametrize(
    ("policy_kwargs", "batch"),
    [
        ({"net_arch": [24, 20]}, 16),
        ({"net_arch": [24, 20], "activation_fn": nn.Tanh, "n_critics": 3}, 25),
        ({"net_arch": [256, 256]}, 256),
        ({"net_arch": {"pi": [8], "qf": [33, 12, 7]}}, 100),
    ],
    ids=["small", "tanh", "default", "uneven"],
)


def make_model(policy_kwargs: dict[str, Any], **kwargs: Any) -> Any:
    """A model that has learnt a little."""
    settings: dict[str, Any] = {"buffer_size": 100, "batch_size": 16, "learning_starts": 30, "seed": 0, "device": "cpu"}
    env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (ACTION_DIM,)))
    return ReMAC("MlpPolicy", env, policy_kwargs=policy_kwargs, **settings | {"learning_rate": 3e-3} | kwargs).learn(50)


def gradients_of(module: nn.Module) -> list[th.Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def assert_equal(first: list[th.Tensor], second: list[th.Tensor]) -> None:
    assert len(first) == len(second) > 0
    assert all(map(th.equal, first, second))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often networks were passed through by hand."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(Mlp, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        return method

    for name in ("forward", "input_gradient", "set_gradients"):
        monkeypatch.setattr(Mlp, name, counting(name))
    return counts


@NETWORKS
def test_critic(policy_kwargs: dict[str, Any], batch: int, calls: Counter[str]) -> None:
    model = make_model(policy_kwargs)
    n_critics = len(model.critic.q_networks)
    data = model.replay_buffer.sample(batch)
    targets = th.randn(batch, 1)
    results = []
    for shortcut in (True, False):
        model.critic.zero_grad()
        calls.clear()
        networks = plain_networks(model.critic) if shortcut else None
        loss = set_critic_gradient(model.critic, networks, data.observations, data.actions, targets, Scratch())
        results.append([loss, *gradients_of(model.critic)])
        assert calls == ({"forward": n_critics, "set_gradients": n_critics} if shortcut else {})
    assert_equal(*results)
    assert not loss.requires_grad and loss > 0


def test_gradients_are_new_in_every_update() -> None:
    """Optimizers may keep those of the last step."""
    model = make_model({"net_arch": [8]})
    parameters = [*model.actor.parameters(), *model.critic.parameters()]
    kept = [parameter.grad for parameter in parameters]
    copies = [gradient.clone() for gradient in kept]
    model.train(1, 16)
    assert_equal(kept, copies)
    assert not any(th.equal(parameter.grad, last) for parameter, last in zip(parameters, kept, strict=True))


@NETWORKS
@pytest.mark.parametrize("n_samples", [1, 5])
@pytest.mark.parametrize("bound", [-20.0, 2.0])
def test_actor(policy_kwargs: dict[str, Any], batch: int, n_samples: int, bound: float) -> None:
    """With standard deviations on both sides of SB3's bounds, beyond which they get no gradient."""
    model = make_model(policy_kwargs)
    with th.no_grad():
        middle = model.actor.log_std(model.actor.latent_pi(th.zeros(model.observation_space.shape)))
        model.actor.log_std.bias.add_(bound - middle)
    observations = model.replay_buffer.sample(batch).observations
    gradient = th.randn(n_samples, batch, ACTION_DIM)
    results = []
    for shortcut in (True, False):
        th.manual_seed(0)
        network = plain_network(model.actor) if shortcut else None
        samples = sample_actions(model.actor, observations, n_samples, network)
        assert (samples.tape is not None) == shortcut
        samples.set_actor_gradient(model.actor, gradient)
        results.append([samples.actions.detach(), samples.std.detach(), *gradients_of(model.actor)])
    clipped = samples.std == th.tensor(bound).exp()
    assert clipped.any() and not clipped.all()
    # sums over several samples may be made in another order
    if n_samples == 1:
        assert_equal(*results)
    else:
        th.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


@NETWORKS
def test_values_of_one_action(policy_kwargs: dict[str, Any], batch: int, calls: Counter[str]) -> None:
    model = make_model(policy_kwargs, n_action_samples=1, k=1)
    observations = model.replay_buffer.sample(batch).observations
    actions = th.rand(1, batch, ACTION_DIM) * 2 - 1
    networks = plain_networks(model.critic)
    others = observations, actions, model._rank_weights()[1], Scratch()
    n_critics = len(model.critic.q_networks)
    calls.clear()
    by_hand = action_gradient(model.critic, networks, *others)
    assert calls == {"forward": n_critics, "input_gradient": n_critics}
    assert_equal(list(by_hand), list(action_gradient(model.critic, None, *others)))
    assert calls == {"forward": n_critics, "input_gradient": n_critics}
    plain = th.cat(model.critic(observations, actions[0]), dim=1).min(dim=1, keepdim=True).values
    assert th.equal(smallest_values(model.critic, networks, observations, actions[0], Scratch()), plain)
    assert calls["forward"] == 2 * n_critics


@pytest.mark.parametrize("share", [False, True])
def test_features_are_trained(share: bool) -> None:
    """Shared ones by the actor alone, as in SAC."""
    model = make_model({"net_arch": [8], "features_extractor_class": ScaledExtractor, "share_features_extractor": share})
    assert model.actor.features_extractor.scale != 1.0
    assert model.critic.features_extractor.scale != 1.0
    assert (model.actor.features_extractor is model.critic.features_extractor) == share
    data = model.replay_buffer.sample(16)
    model.policy.zero_grad()
    set_critic_gradient(
        model.critic, plain_networks(model.critic), data.observations, data.actions, th.randn(16, 1), Scratch()
    )
    assert (model.critic.features_extractor.scale.grad is None) == share


@pytest.mark.parametrize("network", ["actor.mu", "critic.qf1.2"])
@pytest.mark.parametrize(("parameter", "hook"), [("weight", "register_hook"), ("bias", "register_post_accumulate_grad_hook")])
def test_hooks_on_gradients_are_called(network: str, parameter: str, hook: str) -> None:
    model = make_model({"net_arch": [8, 8]})
    seen: list[th.Tensor] = []
    getattr(getattr(model.policy.get_submodule(network), parameter), hook)(seen.append)
    model.train(3, 16)
    assert len(seen) == 3


def with_forward_hook(critic: Any) -> None:
    critic.q_networks[0][1].register_forward_hook(lambda module, inputs, output: output)


def with_hook_on_the_network(critic: Any) -> None:
    critic.q_networks[0].register_forward_hook(lambda module, inputs, output: output)


def with_backward_pre_hook(critic: Any) -> None:
    critic.q_networks[0][2].register_full_backward_pre_hook(lambda module, outputs: None)


def with_backward_hook(critic: Any) -> None:
    critic.q_networks[0][2].register_full_backward_hook(lambda module, inputs, outputs: None)


def with_critic_hook(critic: Any) -> None:
    critic.register_forward_pre_hook(lambda module, inputs: None)


def without_bias(critic: Any) -> None:
    critic.q_networks[0][2] = nn.Linear(8, 8, bias=False)


def with_mixed_activations(critic: Any) -> None:
    critic.q_networks[0][1] = nn.Tanh()


@pytest.mark.parametrize(
    "change",
    [
        with_forward_hook,
        with_hook_on_the_network,
        with_backward_pre_hook,
        with_backward_hook,
        with_critic_hook,
        without_bias,
        with_mixed_activations,
    ],
)
def test_networks_that_are_not_plain(change: Callable[[Any], None]) -> None:
    model = make_model({"net_arch": [8, 8]})
    assert plain_networks(model.critic) is not None
    change(model.critic)
    assert plain_networks(model.critic) is None


def test_scratch_of_another_type() -> None:
    scratch = Scratch()
    for dtype in (th.float32, th.float64):
        scratch.restart()
        assert scratch.empty(3, 2, like=th.zeros((), dtype=dtype)).dtype == dtype


def test_no_hidden_layer() -> None:
    assert Mlp.of([], [nn.Linear(3, 1)]) is None
    make_model({"net_arch": []})

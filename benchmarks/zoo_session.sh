#!/usr/bin/env bash
# Runs every script of the zoo for the three algorithms with few steps; stops at the first that fails.
#
#     bash zoo_session.sh [folder]
#
# Needs an environment with the package and its extra zoo (PYTHON names the interpreter), and no file of the checkout.
set -euo pipefail

PYTHON=${PYTHON:-python}
FOLDER=${1:-$(mktemp -d)}
# No windows, and one thread per process
export MPLBACKEND=Agg SDL_VIDEODRIVER=dummy OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$FOLDER"
cd "$FOLDER"
SECONDS=0

zoo() {
    echo "[$SECONDS s] python -m sb3_ordergrad.zoo $*"
    "$PYTHON" -m sb3_ordergrad.zoo "$@" >>session.log 2>&1 || { tail -40 session.log; echo "FAILED: $*"; exit 1; }
}

# Checks that files exist and are not empty
written() {
    for file in "$@"; do
        [ -s "$file" ] || { echo "FAILED: $file was not written"; exit 1; }
    done
}

"$PYTHON" -c 'import sb3_ordergrad; print("sb3_ordergrad", sb3_ordergrad.__version__, "in", sb3_ordergrad.__path__[0])'

for algo in orderppo ordera2c remac; do
    # ReMAC's actions are continuous
    env=CartPole-v1 steps=3000 tuning_steps=400
    # ReMAC's first 100 steps are the warm-up
    [ $algo = remac ] && env=Pendulum-v1 steps=800 tuning_steps=150
    common="--algo $algo --env $env --device cpu -f logs"
    for seed in 0 1; do
        # shellcheck disable=SC2086
        zoo train $common -n $steps --seed $seed --eval-freq 400 --eval-episodes 5
    done
    written logs/$algo/${env}_2/{$env.zip,evaluations.npz,best_model.zip,$env/config.yml}
    # shellcheck disable=SC2086
    zoo train $common -n $steps --seed 2 --eval-freq -1 -i logs/$algo/${env}_1/$env.zip
    written logs/$algo/${env}_3/$env.zip
    zoo enjoy --algo $algo --env $env -f logs --no-render -n 2000 --exp-id 2 --device cpu --stochastic
    grep -q "Returns of .* episodes: mean .*CVaR_0.1 .*best-of-8" <(tail -1 session.log) || { echo "FAILED: enjoy names no CVaR"; exit 1; }
    # shellcheck disable=SC2086
    zoo train $common -n $tuning_steps -optimize --n-trials 10 --pruner none --n-startup-trials 5 --no-optim-plots --eval-episodes 10 \
        --tune-objective cvar:0.25 --n-evaluations 1 --storage sqlite:///tuning.db --study-name $algo -f tuning -params n_envs:1
    "$PYTHON" - $algo <<'PYTHON'
import sys

import optuna

states = [trial.state.name for trial in optuna.load_study(storage="sqlite:///tuning.db", study_name=sys.argv[1]).trials]
assert states == ["COMPLETE"] * 10, states
PYTHON
    zoo plot_train -a $algo -e $env -f logs -w 3
    zoo all_plots -a $algo -e $env -f logs --no-million --no-display -o plots_$algo
    zoo plot_from_file -i plots_$algo --skip-timesteps -o scores_$algo.svg
    written plots_$algo.pkl scores_$algo.svg
    zoo record_video --algo $algo --env $env -f logs -n 50 --exp-id 2 -o videos
    written videos/*$algo*.mp4
done
zoo benchmark --log-dir logs --benchmark-dir bench --no-hub -n 2000 --num-threads 1
written benchmark.md
grep -q "CVaR_0.25.*best-of-8" benchmark.md || { echo "FAILED: benchmark.md has no CVaR"; exit 1; }
[ "$(grep -c -E '^\|(orderppo|ordera2c|remac)' benchmark.md)" = 3 ] || { echo "FAILED: benchmark.md lacks an algorithm"; exit 1; }
cat benchmark.md
# A warning of this package
if grep -n "sb3_ordergrad.*Warning" session.log; then echo "FAILED: the package warned"; exit 1; fi
echo "Done in $SECONDS s; files in $FOLDER"

"""Our algorithms in RL Zoo: ``python -m sb3_ordergrad.zoo train --algo orderppo --env GuardedMaze-v0``."""

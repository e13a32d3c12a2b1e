"""OrderPPO, OrderA2C and ReMAC in RL Zoo: ``python -m sb3_ordergrad.zoo train --algo orderppo --env GuardedMaze-v0``."""

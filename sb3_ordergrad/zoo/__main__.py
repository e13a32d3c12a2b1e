"""Entry point of ``python -m sb3_ordergrad.zoo``."""

from sb3_ordergrad.zoo.cli import main

# The guard is for the processes of SubprocVecEnv, which import this file again
if __name__ == "__main__":
    main()

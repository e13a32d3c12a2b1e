from sb3_ordergrad.reppo.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_ordergrad.reppo.reppo import RePPO

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "RePPO"]

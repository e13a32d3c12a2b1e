from sb3_ordergrad.remac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_ordergrad.remac.remac import ReMAC

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "ReMAC"]

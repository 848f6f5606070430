"""What a run is made with: versions, machine and devices."""

import os
import platform
from importlib import metadata

import harmonic_tf

PACKAGES = ("tensorflow", "keras", "keras-cv", "numpy")


def versions() -> dict:
    """Versions of this library, of Python and of the packages that numbers depend on.

    Nothing is imported for it.

    Returns:
        Dict. Name -> version, such as `{"harmonic-tf": "0.2.0", "python": "3.11.7", ...}`.
    """
    found = {"harmonic-tf": harmonic_tf.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # such as tensorflow-cpu, which has another name
            found[package] = None
    return found


def environment(strategy=None) -> dict:
    """What a run is made with, for its `run.json`.

    Args:
        strategy: tf.distribute.Strategy or None. Where it computes. Defaults to `None`, one device.

    Returns:
        Dict of `versions`, `machine` and `devices`.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"versions": versions(), "machine": machine, "devices": devices(strategy)}


def described(environment) -> str:
    """An environment in one line, for people.

    Example:

    >>> described({"versions": {"keras": "3.8.0"}, "machine": "Linux x86_64", "devices": ["CPU"]})
    'keras 3.8.0; Linux x86_64; CPU'
    """
    named = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
    return f"{named}; {environment['machine']}; {', '.join(environment['devices'])}"


def devices(strategy=None) -> list:
    """The devices that a strategy computes on, by the names that people know them by.

    Args:
        strategy: tf.distribute.Strategy or None. As for `environment`.

    Returns:
        List of str, such as `["CPU"]` or `["GPU 0 (NVIDIA H100 80GB HBM3)"]`.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    count = strategy.num_replicas_in_sync if strategy else 1
    if not gpus:
        return ["CPU"] if count == 1 else [f"{count} parts of the CPU"]
    named = []
    for number, gpu in enumerate(gpus[:count]):
        name = tf.config.experimental.get_device_details(gpu).get("device_name")
        named.append(f"GPU {number} ({name})" if name else f"GPU {number}")
    return named

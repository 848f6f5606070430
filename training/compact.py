"""A trained detector made small, to be handed on: its weights as 16-bit numbers."""

import io
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np

from harmonic_tf.training.files import replacing
from harmonic_tf.training.labels import LABELS_FILE, MODEL_FILE, model_file

_WEIGHTS = "model.weights.h5"


def compact_run(run, folder) -> Path:
    """Copies what tells of a run, and its model with half the bytes.

    The model's numbers are float32 again when it is loaded, rounded to 11 bits.

    Args:
        run: str or Path. A run's folder, or a `.keras` file.
        folder: str or Path. Where to write; `model.keras` in it is replaced.

    Returns:
        Path. The model's file.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If a weight is too large for 16 bits.

    Example:

    ```python
    compact_run("runs/voc", "models/pretrained/voc")
    ```
    """
    source, folder = model_file(run), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (LABELS_FILE, "recipe.yaml", "metrics.json", "details.json"):
        if (source.parent / name).is_file():
            shutil.copyfile(source.parent / name, folder / name)
    with replacing(folder / MODEL_FILE) as aside:
        with (
            zipfile.ZipFile(source) as there,
            zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as here,
        ):
            for name in there.namelist():
                content = there.read(name)
                here.writestr(name, _halved(content) if name == _WEIGHTS else content)
    return folder / MODEL_FILE


def _halved(content):
    """A file of weights, HDF5, with float16 in the place of float32."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as there, h5py.File(buffer, "w") as here:
        here.attrs.update(there.attrs)
        there.visititems(lambda name, item: _put(here, name, item))
    return buffer.getvalue()


def _put(here, name, item):
    if isinstance(item, h5py.Group):
        target = here.require_group(name)
    else:
        values = item[()]
        if values.dtype == np.float32:
            with np.errstate(over="ignore"):
                values = values.astype(np.float16)
            if not np.isfinite(values).all():
                raise ValueError(f"{name}: a weight is too large for 16 bits")
        target = here.create_dataset(name, data=values)
    target.attrs.update(item.attrs)

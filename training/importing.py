"""Detectors that torchvision publishes, as files of ours."""

from pathlib import Path

from harmonic_tf.training.checkpoints import save_model
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.files import require_folder, writing_to
from harmonic_tf.training.labels import LABELS_FILE, Labels, write_labels


def import_torchvision(file, output, image_size=None):
    """Writes a state dict of torchvision's as a `.keras` file, with `labels.json` beside it.

    Args:
        file: str or Path. See `harmonic_tf.models.torchvision.load_torchvision`.
        output: str or Path. The file to write, which ends in .keras, in a folder without another
            model's labels.
        image_size: (int, int) or None. Height and width of the network's input.

    Returns:
        `harmonic_tf.models.torchvision.Loaded`.

    Raises:
        UserError: If nothing can be written there.
        ValueError: If it is no such file.

    Example:

    ```python
    import_torchvision("fcos_resnet50_fpn_coco-99b0c9b7.pth", "runs/fcos/model.keras")
    ```
    """
    from harmonic_tf.models.torchvision import load_torchvision

    output = Path(output)
    if output.suffix != ".keras":
        raise UserError(f"--output: expected a file that ends in .keras; received {output}")
    if image_size and min(image_size) < 1:
        raise UserError(f"--image-size: expected two positive sizes; received {image_size}")
    for path in (output, output.parent / LABELS_FILE):
        if path.exists():
            raise UserError(f"{path}: is there already; give --output another folder")
    require_folder(output.parent)
    loaded = load_torchvision(file, image_size)
    with writing_to(output):
        save_model(loaded.model, output)
        write_labels(output.parent, Labels(loaded.class_names, loaded.category_ids))
    return loaded

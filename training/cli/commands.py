"""The commands of `harmonic-tf`: their flags, as dataclasses, and what each calls.

A field's docstring is its help. TensorFlow is imported only inside `__call__`.
"""

import glob
import math
import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from harmonic_tf.training.cli.quiet import import_tensorflow
from harmonic_tf.training.console import plain_console, printable
from harmonic_tf.training.errors import UserError, as_user_error
from harmonic_tf.training.eval_splits import split_folder, split_names
from harmonic_tf.training.files import require_folder, writing_to
from harmonic_tf.training.losses import split_losses
from harmonic_tf.training.recipe import Recipe, Settings, read_recipe


@dataclass(frozen=True)
class Train(Recipe):
    """Train a detector, evaluate it, and write it down.

    With no flags: the small SSD with HarmonicDet on images drawn on the fly; a few minutes on
    two cores. Ctrl-C, SIGTERM and SIGHUP stop after the step at hand; --resume goes on.

    harmonic-tf train --data voc:DIR --epochs 80 --output runs/cells

    harmonic-tf train --resume runs/cells
    """

    config: Path | None = None
    """A recipe in YAML, such as a run's recipe.yaml. Flags override it."""
    output: Path | None = None
    """The run's folder. None: runs/, named after data, model, loss and seed."""
    resume: Path | None = None
    """Folder of a stopped run to go on with, by its own recipe."""
    extend_to: int | None = None
    """With --resume: epochs in all, if more than the run was started with. It is written down."""
    checkpoint_minutes: float = 10.0
    """Longest time between checkpoints in minutes; there is one after every epoch, too."""
    extras: bool = True
    """Write figures, images and an export when training ends."""

    def __call__(self):
        if self.extend_to is not None and self.resume is None:
            raise UserError("--extend-to is for a run that --resume goes on with")
        import_tensorflow()
        from harmonic_tf.training.train import resume, train

        settings = {"extras": self.extras, "checkpoint_minutes": self.checkpoint_minutes}
        if self.resume is None:
            run = train(self.recipe(), self.output, **settings)
        else:
            run = resume(self.resume, extend_to=self.extend_to, **settings)
        return 0 if run.finished else 130

    def recipe(self) -> Recipe:
        """The part of the flags that determines the result."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained model by the COCO protocol, in original pixels.

    harmonic-tf evaluate runs/cells --data voc:DIR --eval-split test,test_crowd

    Testing at several scales: with --scales or --flip the model looks at every image in several
    ways, and what it finds is merged.

    harmonic-tf evaluate runs/cells --scales 160,192,224 --flip
    """

    model: Positional[Path]
    """A run's folder, a .keras file, or voc for the detector that comes with the package."""
    data: str | None = None
    """Images, as for train. None: those of the run's recipe."""
    eval_split: Annotated[str | None, arg(aliases=["--split"])] = None
    """Split to evaluate on, or several with commas between. None: those of the run's recipe, else
    the source's own: valid, else val, else test."""
    output: Path | None = None
    """Folder to write metrics.json to; of all splits but the first to splits/NAME/ in it."""
    scales: str | None = None
    """Shorter sides of the input in pixels, separated by commas. None: the model's own."""
    flip: bool = False
    """Look at every image mirrored, too."""
    merge: Literal["nms", "soft-nms"] = "nms"
    """Of boxes found several times: keep the best, or lower the scores of the others."""
    batch_size: int = 8
    """Images a step."""
    on_bad_data: Literal["skip", "error"] = "skip"
    """Bad ground truth: leave it out and count it, or stop at once with the whole list."""

    def __call__(self):
        scales = _list(self.scales, "scales", int) if self.scales is not None else None
        several = scales is not None or self.flip
        if self.merge != "nms" and not several:
            raise UserError(f"--merge {self.merge}: nothing to merge without --scales or --flip")
        _require_batch_size(self.batch_size)
        if self.output:
            require_folder(self.output)
        import_tensorflow()

        from harmonic_tf.training.build import load_to_evaluate
        from harmonic_tf.training.environment import devices
        from harmonic_tf.training.evaluation.evaluator import Evaluator, write_metrics
        from harmonic_tf.training.evaluation.tables import merged_table, metrics_table
        from harmonic_tf.training.evaluation.test_time_augmentation import (
            MultiScaleEvaluator,
            views_of,
        )
        from harmonic_tf.training.labels import load_model_and_labels
        from harmonic_tf.training.train import data_summary

        with as_user_error():
            model, labels = load_model_and_labels(self.model)
            names = labels.class_names if labels else None
            recipe = self._recipe()
            splits = split_names(recipe.eval_split)
            sources = [load_to_evaluate(recipe, split, names) for split in splits]
            if several:
                views = views_of(model, scales, self.flip)
                print(f"merging what is found at {'; '.join(views)}")
        for data in sources:
            if names and not any(len(record.objects) for record in data.records):
                reason = f"has no objects of the classes {list(names)}"
                raise UserError(f"{data.name} {data.split} {reason}")
        for note in dict.fromkeys(note for data in sources for note in data.notes):
            print(printable(note))
        for place, (split, data) in enumerate(zip(splits, sources, strict=True)):
            print(printable(f"{data_summary(data)}; on {', '.join(devices())}"))
            with as_user_error():
                if several:
                    result = MultiScaleEvaluator(model, views, data, self.merge, self.batch_size)()
                else:
                    evaluation = Evaluator(model, data, self.batch_size)()
            if several:
                evaluation = result.merged
            plain_console().print(merged_table(result) if several else metrics_table(evaluation))
            if self.output:
                folder = split_folder(self.output, split) if place else self.output
                with writing_to(self.output):
                    print(printable(write_metrics(evaluation, folder / "metrics.json")))

    def _recipe(self) -> Recipe:
        """What to evaluate on; of the run's own data the same part as while it was trained."""
        from harmonic_tf.training.data import absolute_spec
        from harmonic_tf.training.labels import located

        path = located(self.model)
        file = (path if path.is_dir() else path.parent) / "recipe.yaml"
        if not file.exists() and self.data is None:
            raise UserError(f"{self.model}: no {file.name} beside it; say what --data to use")
        recipe = read_recipe(file) if file.exists() else Recipe(data=self.data)
        eval_split = self.eval_split
        if self.data is None:
            eval_split = eval_split or recipe.eval_split
        elif absolute_spec(self.data) != absolute_spec(recipe.data):
            recipe = Recipe(data=self.data)
        return replace(recipe, eval_split=eval_split, on_bad_data=self.on_bad_data)


@dataclass(frozen=True)
class Compare(Settings):
    """Train several losses from the same seeds and compare them pair by pair.

    Prints mean and spread of each loss, and the paired difference of the last loss from each of
    the others. Two controls tell what the coupling itself does: standard_x2 (the standard loss,
    positives weighted twice) and constant_factors (the whole loss, both weights fixed at 2).
    Repeat the command to go on with a comparison that was stopped.

    harmonic-tf compare --losses standard,standard_x2,constant_factors,harmonic_det
    --seeds 1,2,3,4,5 --data voc:DIR --jobs 2 --output runs/compare-cells
    """

    losses: str = "standard,harmonic_det"
    """Losses, separated by commas; the last is compared with each of the others: standard,
    standard_x2, constant_factors, harmonic, harmonic_det, harmonic_norm (train --help says what
    each is). Settings follow a colon: harmonic_det:alpha=1,margin=0.1"""
    seeds: str = "1,2,3"
    """Seeds, separated by commas: one run of each loss for each."""
    jobs: int = 1
    """Runs at a time, each with its share of the cores."""
    output: Path | None = None
    """The comparison's folder. None: runs/compare-, and the names of data and model."""
    config: Path | None = None
    """A recipe in YAML. Flags override it; its loss and seed are not used."""

    def __call__(self):
        from harmonic_tf.training.comparison.run import compare

        shared = {field.name: getattr(self, field.name) for field in fields(Settings)}
        recipes = [
            Recipe(loss=loss, seed=seed, **shared)
            for loss in split_losses(self.losses)
            for seed in _list(self.seeds, "seeds", int)
        ]
        if self.jobs < 1:
            raise UserError(f"--jobs: expected at least 1; received {self.jobs}")
        output = self.output or Path("runs") / f"compare-{recipes[0].subject}"
        compare(recipes, output, self.jobs, command=shlex.join(["harmonic-tf", *sys.argv[1:]]))


@dataclass(frozen=True)
class Predict:
    """Find objects in images: writes the images with boxes, and COCO results as JSON.

    harmonic-tf predict runs/cells photos/*.jpg --output found

    Without a model, the one that comes with the package finds VOC's 20 classes: persons, vehicles,
    animals and furniture.

    harmonic-tf predict photo.jpg --output found
    """

    model: Positional[Path]
    """A run's folder, a .keras file, voc for the detector that comes with the package, or already
    the first image."""
    images: Positional[tuple[str, ...]]
    """Image files, folders of them, or patterns."""
    output: Path = Path("predictions")
    """Folder to write to."""
    score_threshold: float | None = None
    """Boxes with lower scores are not drawn; predictions.json holds them all the same. None: 0.4;
    0.25 without a model."""
    batch_size: int = 8
    """Images a step."""

    def __call__(self):
        from harmonic_tf.training.labels import is_model

        may_be_image = not self.images or self.model.exists() or any(glob.iglob(str(self.model)))
        if may_be_image and not is_model(self.model):
            self._by_default()()
            return
        if not self.images:
            reason = "expected images after it: files, folders or patterns"
            raise UserError(f"{self.model} is a model; {reason}")
        threshold = 0.4 if self.score_threshold is None else self.score_threshold
        if not -math.inf < threshold < math.inf:
            raise UserError(f"--score-threshold: expected a number; received {threshold}")
        _require_batch_size(self.batch_size)
        require_folder(self.output)
        import_tensorflow()
        from harmonic_tf.training.serving.predict import predict_images

        with as_user_error():
            model, labels = _load(self.model)
            found = predict_images(
                model, self.images, labels, self.output, threshold, self.batch_size
            )
        for problem in found.problems:
            print(printable(f"skipped {problem}"), file=sys.stderr)
        counts = f"{len(found.images)} images and {len(found.results)} results"
        print(printable(f"{counts} in {self.output}"))

    def _by_default(self):
        """The same with the detector that comes with the package; what stood first is an image."""
        from harmonic_tf.models.pretrained import DEFAULT, SHOWN_FROM, pretrained_folder

        print(printable(f"{self.model} is no model: looking with {DEFAULT}, VOC's 20 classes"))
        return replace(
            self,
            model=pretrained_folder(DEFAULT),
            images=(str(self.model), *self.images),
            score_threshold=SHOWN_FROM if self.score_threshold is None else self.score_threshold,
        )


@dataclass(frozen=True)
class Export:
    """Write a trained model for TensorFlow Serving: encoded images in, boxes out.

    harmonic-tf export runs/cells
    """

    model: Positional[Path]
    """A run's folder, a .keras file, or voc for the detector that comes with the package."""
    output: Path = Path("saved_models")
    """Folder of exports; the model goes to OUTPUT/NAME/VERSION."""
    name: str | None = None
    """The model's name there. None: that of the run's folder or file."""

    def __call__(self):
        require_folder(self.output)
        import_tensorflow()
        from harmonic_tf.training.labels import located
        from harmonic_tf.training.serving.saved_model import export_model

        with as_user_error():
            path = located(self.model)
            model, labels = _load(path)
            recipe = path / "recipe.yaml"
            name = self.name or path.resolve().stem
            recipe = recipe if recipe.is_file() else None
            print(printable(export_model(model, labels, self.output, name, recipe=recipe)))


@dataclass(frozen=True)
class Import:
    """Turn a detector that torchvision publishes into a model file, without PyTorch.

    Takes the state dict of fcos_resnet50_fpn, retinanet_resnet50_fpn, fasterrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn or ssd300_vgg16. The classes go to labels.json beside the model, which
    predict, evaluate and export then take.

    harmonic-tf import retinanet_resnet50_fpn_coco-eeacb38b.pth --output runs/coco/model.keras
    """

    file: Positional[Path]
    """The state dict, a file that ends in .pth or .pt."""
    output: Path = Path("runs/imported/model.keras")
    """The file to write, in a folder of its own."""
    image_size: tuple[int, int] | None = None
    """Height and width of the network's input in pixels, best multiples of 128. None: 1024 x 1024,
    where images of 4 by 3 are 4 % smaller than torchvision makes them; ssd300_vgg16: 300 x 300."""

    def __call__(self):
        import_tensorflow()
        from harmonic_tf.training.importing import import_torchvision

        with as_user_error():
            loaded = import_torchvision(self.file, self.output, self.image_size)
        height, width = loaded.model.image_size
        about = f"{len(loaded.class_names)} classes, images of {width} x {height} pixels"
        print(printable(f"{loaded.architecture}: {about}"))
        print(printable(self.output))


@dataclass(frozen=True)
class Data:
    """Show what is in a data set before training on it: images, boxes, sizes, problems.

    Writes a sheet of images with their boxes, one of images with problems, and figures, too; or the
    whole set in another form.

    harmonic-tf data voc:DIR

    harmonic-tf data labelme:DIR --convert coco --output DIR
    """

    source: Positional[str]
    """shapes, voc:DIR, coco:DIR, yolo:DIR, labelme:DIR, csv:FILE, tfrecord:GLOB, tfds:NAME, or a
    path alone, whose format is found out."""
    split: str | None = None
    """Split to look at. None: the one for training, such as trainval; to convert: all."""
    val_fraction: float | None = None
    """Share to evaluate on where the data has no split for it, as in train."""
    val_seed: int = 0
    """Another one, other parts."""
    output: Path = Path(".")
    """Folder for the sheets and figures, or for the set in another form; not the source's."""
    convert: Literal["coco", "voc", "yolo"] | None = None
    """Write the set in this form, into a new folder, and name what the form cannot say."""
    images: Literal["link", "copy"] = "link"
    """With --convert: links to the images of the source, or copies."""

    def __call__(self):
        import_tensorflow()
        if self.convert is not None:
            self._convert()
            return
        from harmonic_tf.training.data import load_data, print_summary
        from harmonic_tf.training.data.load import require_outside
        from harmonic_tf.training.data.summary import print_common
        from harmonic_tf.training.visualization.data_figures import save_data_figures
        from harmonic_tf.training.visualization.sheets import save_contact_sheet, save_problem_sheet

        require_folder(self.output)
        with as_user_error():
            require_outside(self.source, self.output)
            data = load_data(self.source, "train", self.split, **self._parting())
        print_summary(data, plain_console())
        if self.split is None:
            try:
                names = data.class_names
                eval_data = load_data(self.source, "eval", class_names=names, **self._parting())
                print_common(data, eval_data, plain_console())
            except ValueError as error:
                print(printable(f"nothing to evaluate on: {error}"))
        with writing_to(self.output):
            sheet = save_contact_sheet(data, self.output / "contact_sheet.png")
            print(printable(f"contact sheet: {sheet}"))
            problems = save_problem_sheet(data, self.output / "problems.png")
            if problems is not None:
                print(printable(f"images with problems: {problems}"))
            for figure in save_data_figures(data, self.output):
                print(printable(f"figure: {figure}"))

    def _parting(self):
        return {"val_fraction": self.val_fraction, "val_seed": self.val_seed}

    def _convert(self):
        from harmonic_tf.training.data.convert import convert

        how = (self.convert, self.output, self.split, self.images)
        with as_user_error(), writing_to(self.output):
            found = convert(self.source, *how, **self._parting())
        for note in dict.fromkeys(note for data in found.splits.values() for note in data.notes):
            print(printable(note))
        for problem in found.problems:
            print(printable(f"left out {problem}"), file=sys.stderr)
        for what in found.unread:
            print(printable(f"not carried over: {what}"))
        for what in found.lost:
            print(printable(f"{self.convert} cannot say: {what}"))
        for split, data in found.splits.items():
            objects = sum(len(record.objects) for record in data.records)
            print(printable(f"{split}: {len(data)} images, {objects} objects"))
        print(printable(f"written to {self.output}; read it as {self.convert}:{self.output}"))


COMMANDS = {
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "predict": Predict,
    "export": Export,
    "import": Import,
    "data": Data,
}


def _load(path):
    """A trained model, and its labels or stand-ins for them."""
    from harmonic_tf.training.labels import Labels, load_model_and_labels

    model, labels = load_model_and_labels(path)
    return model, labels or Labels.numbered(model.num_classes)


def _require_batch_size(value):
    if value < 1:
        raise UserError(f"--batch-size: expected at least 1; received {value}")


def _list(text, flag, convert):
    """The different items of a list with commas."""
    try:
        items = [convert(item.strip()) for item in text.split(",")]
    except ValueError:
        message = f"--{flag}: expected numbers separated by commas; received {text!r}"
        raise UserError(message) from None
    if len(set(items)) != len(items):
        raise UserError(f"--{flag}: expected each once; received {text!r}")
    return items

"""One small set, written as every labelling tool leaves it.

Three images of 80 x 60 px, `a.jpg` to `c.jpg`: a dog in the first, a cat and a dog in the second,
nothing in the third.
"""

import base64
import io
import json
from pathlib import Path

from folders import picture, voc_xml

BOXES = {
    "a": [("dog", (10, 15, 30, 45))],
    "b": [("cat", (0, 0, 40, 30)), ("dog", (20, 30, 80, 60))],
    "c": [],
}
NAMES = ("cat", "dog")
WIDTH, HEIGHT = 80, 60


def images(folder: Path, names=BOXES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.jpg").write_bytes(jpeg(name))


def jpeg(name) -> bytes:
    content = io.BytesIO()
    picture(seed=ord(name)).save(content, "JPEG")
    return content.getvalue()


def yolo_text(name, label_of=NAMES.index) -> str:
    rows = []
    for label, (x1, y1, x2, y2) in BOXES[name]:
        centre = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT)
        rows.append((label_of(label), *centre, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT))
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def yolo_labels(folder: Path, names=BOXES, **form):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if BOXES[name]:
            (folder / f"{name}.txt").write_text(yolo_text(name, **form))


def yolo(root: Path) -> str:
    """Ultralytics: data.yaml with a list of names."""
    images(root / "images/train")
    yolo_labels(root / "labels/train")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: \nnames: [cat, dog]\n")
    return f"yolo:{root}"


def yolo_roboflow(root: Path) -> str:
    """Roboflow: ../train/images for what lies in train/images, a test that was not exported."""
    images(root / "train/images")
    yolo_labels(root / "train/labels")
    (root / "data.yaml").write_text(
        "train: ../train/images\ntest: ../test/images\n"
        "nc: 2\nnames: ['cat', 'dog']\nroboflow:\n  license: MIT\n"
    )
    return f"yolo:{root}"


def yolo_list(root: Path) -> str:
    """A text file that lists the images; names as a mapping."""
    images(root / "images")
    yolo_labels(root / "labels")
    (root / "train.txt").write_text("".join(f"./images/{name}.jpg\n" for name in BOXES))
    (root / "data.yaml").write_text(
        "train: train.txt\nval: train.txt\nnames:\n  1: dog\n  0: cat\n"
    )
    return f"yolo:{root}/data.yaml"


def yolo_bare(root: Path) -> str:
    """images/ and labels/ alone, with classes.txt."""
    images(root / "images")
    yolo_labels(root / "labels")
    (root / "labels/classes.txt").write_text("cat\ndog\n")
    return f"yolo:{root}"


def yolo_words(root: Path) -> str:
    """Names of classes in the labels."""
    images(root / "train/images")
    yolo_labels(root / "train/labels", label_of=str)
    return f"yolo:{root}"


def yolo_labelimg(root: Path) -> str:
    """labelImg: each text file beside its image, and classes.txt."""
    images(root)
    yolo_labels(root)
    (root / "classes.txt").write_text("cat\ndog\n")
    return f"yolo:{root}"


def yolo_cvat(root: Path) -> str:
    """CVAT's export for Darknet, whose paths begin with data/."""
    images(root / "obj_train_data")
    yolo_labels(root / "obj_train_data")
    (root / "train.txt").write_text("".join(f"data/obj_train_data/{n}.jpg\n" for n in BOXES))
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    )
    return f"yolo:{root}"


def coco_content(file_name="{}.jpg") -> dict:
    categories = [{"id": n, "name": name} for n, name in enumerate(NAMES, 1)]
    entries, annotations = [], []
    for number, (name, objects) in enumerate(BOXES.items()):
        file = file_name.format(name)
        entries.append({"id": number, "file_name": file, "width": WIDTH, "height": HEIGHT})
        for label, (x1, y1, x2, y2) in objects:
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": NAMES.index(label) + 1}
            annotations.append({"id": len(annotations), "image_id": number, **box})
    return {"images": entries, "annotations": annotations, "categories": categories}


def write_json(file: Path, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def coco(root: Path) -> str:
    images(root / "train2017")
    write_json(root / "annotations/instances_train2017.json", coco_content())
    return f"coco:{root}"


def coco_roboflow(root: Path) -> str:
    images(root / "train")
    content = coco_content()
    for category in content["categories"]:
        category["supercategory"] = "pets"
    heading = {"id": 0, "name": "pets", "supercategory": "none"}
    content["categories"].insert(0, heading)
    write_json(root / "train/_annotations.coco.json", content)
    return f"coco:{root}"


def coco_cvat(root: Path) -> str:
    images(root / "images/default")
    write_json(root / "annotations/instances_default.json", coco_content())
    return f"coco:{root}"


def coco_label_studio(root: Path) -> str:
    """One JSON file, whatever it is called, beside images/."""
    images(root / "images")
    write_json(root / "result.json", coco_content("images/{}.jpg"))
    return f"coco:{root}"


def coco_fiftyone(root: Path) -> str:
    images(root / "data")
    write_json(root / "labels.json", coco_content())
    return f"coco:{root}"


def coco_file(root: Path) -> str:
    images(root / "photos")
    write_json(root / "labels.json", coco_content())
    return f"coco:{root}/labels.json,images={root}/photos"


def write_xmls(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for name, objects in BOXES.items():
        one_based = [(label, (x1 + 1, y1 + 1, x2, y2)) for label, (x1, y1, x2, y2) in objects]
        (folder / f"{name}.xml").write_text(voc_xml(one_based, (WIDTH, HEIGHT)))


def voc(root: Path) -> str:
    images(root / "JPEGImages")
    write_xmls(root / "Annotations")
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    return f"voc:{root}"


def voc_without_lists(root: Path) -> str:
    images(root / "JPEGImages")
    write_xmls(root / "Annotations")
    return f"voc:{root}"


def voc_flat(root: Path) -> str:
    """labelImg: each XML beside its image."""
    images(root)
    write_xmls(root)
    return f"voc:{root}"


def voc_cvat(root: Path) -> str:
    """CVAT: one list, and one for each class, of which one is called like a split."""
    voc_without_lists(root)
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/default.txt").write_text("a\nb\nc\n")
    for name in ("cat", "train"):
        (root / f"ImageSets/Main/{name}_default.txt").write_text("a -1\nb 1\nc -1\n")
    return f"voc:{root}"


def voc_label_studio(root: Path) -> str:
    images(root / "images")
    write_xmls(root / "Annotations")
    return f"voc:{root}"


def voc_roboflow(root: Path) -> str:
    images(root / "train")
    write_xmls(root / "train")
    return f"voc:{root}"


def labelme_content(name) -> dict:
    shapes = [
        {"label": label, "points": [box[:2], box[2:]], "shape_type": "rectangle", "group_id": None}
        for label, box in BOXES[name]
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.4.1", "shapes": shapes, "imagePath": f"{name}.jpg", **size}


def labelme(root: Path) -> str:
    images(root)
    for name in BOXES:
        write_json(root / f"{name}.json", {**labelme_content(name), "imageData": None})
    return f"labelme:{root}"


def labelme_labels(root: Path) -> str:
    """The JSON files in a folder beside that of the images; written on Windows."""
    images(root / "images")
    for name in BOXES:
        content = {**labelme_content(name), "imagePath": f"..\\images\\{name}.jpg"}
        write_json(root / f"labels/{name}.json", {**content, "imageData": None})
    return f"labelme:{root}"


def labelme_embedded(root: Path) -> str:
    """The images in the JSON files, and nowhere else."""
    for name in BOXES:
        data = base64.b64encode(jpeg(name)).decode()
        content = {**labelme_content(name), "imagePath": f"..\\photos\\{name}.jpg"}
        write_json(root / f"{name}.json", {**content, "imageData": data})
    return f"labelme:{root}"


def csv(root: Path) -> str:
    """keras-retinanet: no headings, classes in a file of their own."""
    images(root / "photos")
    rows = [
        f"photos/{name}.jpg,{','.join(map(str, box))},{label}"
        for name, objects in BOXES.items()
        for label, box in objects
    ]
    (root / "annotations.csv").write_text("\n".join([*rows, "photos/c.jpg,,,,,"]))
    (root / "classes.csv").write_text("cat,0\ndog,1\n")
    return f"csv:{root}/annotations.csv"


def csv_headings(root: Path) -> str:
    """Columns with names, in another order."""
    images(root)
    rows = [
        f"{name}.jpg,80,60,{label},{','.join(map(str, box))}"
        for name, objects in BOXES.items()
        for label, box in objects or [("", ("", "", "", ""))]
    ]
    headings = "filename,width,height,class,xmin,ymin,xmax,ymax"
    (root / "train.csv").write_text("\n".join([headings, *rows]) + "\n")
    return f"csv:{root}"


def csv_roboflow(root: Path) -> str:
    csv_headings(root / "train")
    (root / "train/train.csv").rename(root / "train/_annotations.csv")
    return f"csv:{root}"


def example(name, text=True, **more) -> bytes:
    """A record of the TF Object Detection API."""
    import tensorflow as tf

    def feature(values):
        values = list(values)
        if values and isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    boxes = [box for _, box in BOXES[name]]
    labels = [label for label, _ in BOXES[name]]
    content = {
        "image/encoded": [jpeg(name)],
        "image/filename": [f"{name}.jpg".encode()],
        "image/height": [HEIGHT],
        "image/width": [WIDTH],
        "image/object/class/label": [NAMES.index(label) + 1 for label in labels],
    }
    sides = {"xmin": (0, WIDTH), "ymin": (1, HEIGHT), "xmax": (2, WIDTH), "ymax": (3, HEIGHT)}
    for side, (place, length) in sides.items():
        content[f"image/object/bbox/{side}"] = [box[place] / length for box in boxes]
    if text:
        content["image/object/class/text"] = [label.encode() for label in labels]
    content |= more
    features = {key: feature(value) for key, value in content.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(file: Path, records):
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)


def tfrecord(root: Path) -> str:
    """Two files of one split."""
    write_records(root / "pets_train.record-00000-of-00002", map(example, "ab"))
    write_records(root / "pets_train.record-00001-of-00002", map(example, "c"))
    return f"tfrecord:{root}/*.record-*"


def tfrecord_label_map(root: Path) -> str:
    """Numbers of classes, named by a label map."""
    write_records(root / "train.tfrecord", [example(name, text=False) for name in "abc"])
    (root / "pets.pbtxt").write_text(
        "item {\n  id: 2\n  name: 'dog'\n}\nitem {\n  name: \"cat\"\n  id: 1\n}\n"
    )
    return f"tfrecord:{root}"


def tfrecord_roboflow(root: Path) -> str:
    """A folder for each split, each with a label map; files are called after the classes."""
    write_records(root / "train/pets.tfrecord", map(example, "abc"))
    write_records(root / "val/pets.tfrecord", map(example, "b"))
    for split in ("train", "val"):
        (root / split / "pets_label_map.pbtxt").write_text(
            'item {\n name: "/m/1",\n id: 1,\n display_name: "cat"\n}\n'
            'item {\n name: "/m/2",\n id: 2,\n display_name: "dog"\n}\n'
        )
    return f"tfrecord:{root}"


WITH_SPLITS = (
    yolo,
    yolo_roboflow,
    yolo_list,
    yolo_words,
    yolo_cvat,
    coco,
    coco_roboflow,
    voc,
    voc_roboflow,
    csv_headings,
    csv_roboflow,
    tfrecord,
    tfrecord_label_map,
    tfrecord_roboflow,
)
WITHOUT_SPLITS = (
    yolo_bare,
    yolo_labelimg,
    coco_cvat,
    coco_label_studio,
    coco_fiftyone,
    coco_file,
    voc_without_lists,
    voc_cvat,
    voc_label_studio,
    voc_flat,
    labelme,
    labelme_labels,
    labelme_embedded,
    csv,
)

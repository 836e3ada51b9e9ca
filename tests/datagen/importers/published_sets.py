"""Small real archives in every published format, with the dirt that each is known for."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 288


def picture(number, size=None, form="PNG", mode="RGB", **how):
    """The bytes of a picture that no other number gives."""
    random = np.random.default_rng(number)
    small = random.integers(0, 255, (6, 6, len(mode)), dtype=np.uint8)
    image = Image.fromarray(small.squeeze(), mode=None).resize(size or (SIDE, SIDE), Image.Resampling.BICUBIC)
    sink = io.BytesIO()
    image.save(sink, form, **({"compress_level": 1} if form == "PNG" else {}), **how)
    return sink.getvalue()


def write_tar(path, members, compress=True):
    """A tar of {name: bytes}; a value of another kind is a member made by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.GzipFile(path, "wb", mtime=0) if compress else path.open("wb")  # no time: equal bytes
    with opened as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def split_file(path, part_bytes):
    """Cut a file byte-wise into path.aa, path.ab, ..., as publishers do."""
    data = path.read_bytes()
    path.unlink()
    letters = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    for at, suffix in zip(range(0, len(data), part_bytes), letters, strict=False):
        Path(f"{path}.{suffix}").write_bytes(data[at : at + part_bytes])


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def omnigen2(root, count=4):
    """Loose pictures and a jsonl; with a line that is no JSON, a repeated line and a missing picture."""
    pictures = {}
    rows = []
    for n in range(count):
        for name in (f"images/in_{n}_0.jpg", f"images/in_{n}_1.png", f"images/out_{n}.webp"):
            form = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name[-4:].strip(".").removesuffix(".")]
            pictures[name] = picture(hash_number(name), form=form)
        rows.append(
            {
                "task_type": "character_object",
                "instruction": f"Put image 1 and image 2 on table {n}",
                "input_images": [f"images/in_{n}_0.jpg", f"images/in_{n}_1.png"],
                "output_image": f"images/out_{n}.webp",
            }
        )
    gone = {**rows[0], "instruction": "gone", "output_image": "images/gone.png"}
    escape = {**rows[0], "instruction": "out", "output_image": "../../etc/passwd"}
    write_jsonl(root / "train.jsonl", [*rows, "{broken", rows[0], gone, escape, '["a list"]'])
    write_files(root, pictures)
    return rows, pictures


def hash_number(name):
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % (1 << 31)


def write_files(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def folder(root, count=3):
    """A CSV of one's own, with a licence a row."""
    lines = ["instruction,references,target,licence"]
    pictures = {}
    for n in range(count):
        names = [f"p/{n}a.png", f"p/{n}b.png", f"p/{n}t.png"]
        pictures |= {name: picture(hash_number(name)) for name in names}
        lines.append(f'"Put them, both, on shelf {n}",{names[0]}|{names[1]},{names[2]},cc0-1.0')
    lines.append("For research only,p/0a.png,p/0t.png,cc-by-nc-4.0")
    write_files(root, {"table.csv": "\n".join(lines).encode(), **pictures})
    return pictures


def parquet(root, cells="struct", count=5, group_rows=2):
    """Hugging Face parquet with pictures as structs, plain binary or base64."""
    import base64

    shown = {
        "struct": lambda data: {"bytes": data, "path": None},
        "binary": lambda data: data,
        "base64": lambda data: base64.b64encode(data).decode(),
    }[cells]
    rows = [
        {
            "instruction": f"cup {n} on a table",
            "input_images": [shown(picture(1000 + 10 * n)), shown(picture(1001 + 10 * n))],
            "output_image": shown(picture(1002 + 10 * n)),
            "kind": "a" if n % 2 else "b",
        }
        for n in range(count)
    ]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "train-00000.parquet", row_group_size=group_rows)


def scone_parquet(root, count=5):
    """As released, with one row that has no reference and one whose target is cut off."""
    rows = [
        {"image": [picture(2000 + 10 * n), picture(2001 + 10 * n)], "instruction": f"fox {n} runs"}
        for n in range(count)
    ]
    rows.append({"image": [picture(2900)], "instruction": "text to image"})
    rows.append({"image": [picture(2901), picture(2902)[:-900]], "instruction": "cut off"})
    schema = pa.schema([("image", pa.list_(pa.binary())), ("instruction", pa.string())])
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "chunk_0.parquet", row_group_size=2)
    return rows


def musar_gen(root, count=4):
    rows = [
        {
            "cond_img_0": {"bytes": picture(3000 + 10 * n, form="JPEG"), "path": "a.jpg"},
            "cond_img_1": {"bytes": picture(3001 + 10 * n, form="JPEG"), "path": "b.jpg"},
            "tgt_img": {"bytes": picture(3002 + 10 * n, form="JPEG"), "path": "c.jpg"},
            "cond_prompt_0": f"a red cup {n}",
            "cond_prompt_1": "a lamp",
            "prompt": "An undivided, seamless, and harmonious picture with two objects. "
            f"in the sunny kitchen scene, a red cup {n} and a lamp are placed together.",
        }
        for n in range(count)
    ]
    (root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "data/train-00000-of-00001.parquet", row_group_size=3)
    return rows


def composite(number):
    """Two pictures in one, as Subjects200K has them, with an 8 px frame."""
    halves = [Image.open(io.BytesIO(picture(number + half, (512, 512)))) for half in (0, 1)]
    whole = Image.new("RGB", (1056, 528), "white")
    whole.paste(halves[0], (8, 8))
    whole.paste(halves[1], (528, 8))
    sink = io.BytesIO()
    whole.save(sink, "PNG")
    return sink.getvalue(), halves


def subjects200k(root):
    """High quality, low quality, a null assessment, null marks, and a composite of another size."""
    high = {"compositeStructure": 5, "objectConsistency": 5, "imageQuality": 5}
    assessments = [high, {**high, "objectConsistency": 3}, None, dict.fromkeys(high), high, high]
    rows = []
    for n, assessed in enumerate(assessments):
        data = picture(4900, (1024, 528)) if n == 4 else composite(4000 + 10 * n)[0]
        described = {
            "item": f"mug {n}",
            "description_0": f"a mug {n} on a desk",
            "description_1": f"a mug {n} in the grass",
            "category": "kitchenware",
            "description_valid": n % 2 == 0,
        }
        rows.append(
            {
                "image": {"bytes": data, "path": None},
                "collection": "collection_2",
                "quality_assessment": assessed,
                "description": described,
            }
        )
    (root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "data/train-00000-of-00032.parquet", row_group_size=4)
    return rows


def uno_1m(root, splits=(1, 2, 10), pairs=4):
    """Splits with polluted scores, a final score that is not the mean, and a pair without any."""
    total = []
    for split in splits:
        members, labels = {}, []
        for n in range(pairs):
            names = [f"split{split}/{n:04d}_{side}_{SIDE}x{SIDE}.png" for side in (1, 2)]
            members |= {name: picture(hash_number(name)) for name in names}
            labels.append(
                {
                    "img_path1": names[0],
                    "img_path2": names[1],
                    "caption": {
                        "img_path1": f"a vase {split}-{n} in a room",
                        "img_path2": f"a vase {split}-{n} on a beach",
                        "judgment": "same" if n % 2 else "yes",
                        "subject": ["vase"],
                    },
                    "vlm_filter_cot": {"score_part": {"Shape": 4, "Colour": 3 + n % 2}, "score_final": 4},
                }
            )
        write_tar(root / f"images/split{split}.tar.gz", members)
        total += labels
    labels = total[-pairs:]
    labels[0]["vlm_filter_cot"] = {
        "score_part": {"Record Number": 262365, "Shape": 4.0},
        "score_final": 131184.67,
    }
    labels[1]["vlm_filter_cot"] = {"score_part": {"# Output": 8.5, "Shape": 1}, "score_final": 4.75}
    labels[2]["vlm_filter_cot"] = None
    (root / "labels").mkdir()
    for place, split in enumerate(splits):
        (root / f"labels/split{split}.json").write_text(json.dumps(total[place * pairs :][:pairs]))
    (root / "uno_1m_total_labels.json").write_text(json.dumps(total))
    return total


def echo_4o(root):
    """Absolute-style paths, "sence", keys that repeat in each archive, an archive that was cut off."""
    base = "Multi-Reference-Image"
    rows = {"hum_sce": [], "hum_obj": []}
    members = {"human": {}, "object": {}, "sence": {}}
    for kind, found in members.items():
        for n in range(3):
            found[f"{kind}/{n:05d}.jpg"] = picture(hash_number(f"{kind}{n}"), form="JPEG")
    outputs = {category: {} for category in rows}
    for category, second in (("hum_sce", "scene"), ("hum_obj", "object")):
        for n in range(3):
            outputs[category][f"{n:05d}.jpg"] = picture(hash_number(f"{category}{n}"), form="JPEG")
            rows[category].append(
                {
                    "task_type": "multi_reference",
                    "instruction": f"The person of the first image, {category}, with image 2, number {n}",
                    "input_images": [
                        f"/Echo-4o-Image/{base}/multi_refer_images_input/human/{n:05d}.jpg",
                        f"/Echo-4o-Image/{base}/multi_refer_images_input/{second}/{n:05d}.jpg",
                    ],
                    "output_image": f"/Echo-4o-Image/{base}/multi_refer_images_output/{category}/{n:05d}.jpg",
                    "type": category,
                }
            )
    for kind, found in members.items():
        write_tar(root / f"{base}/multi_refer_images_input/{kind}.tar.gz", found)
    for category, found in outputs.items():
        path = write_tar(root / f"{base}/multi_refer_images_output/{category}.tar.gz", found)
        write_jsonl(root / f"{base}/multi-ic/{category}.jsonl", rows[category])
    path.write_bytes(path.read_bytes()[:-700])
    surreal = [
        {"instruction": "A fish that walks", "output_image": "/Echo-4o-Image/x.png", "type": "surreal"}
    ]
    write_jsonl(root / "Surrel-Fantasy-Image/conflict.jsonl", surreal)
    return rows, members, outputs


def x2i(root, count=5):
    """A jsonl in the root; one archive cut into parts, one whole; a member that is a link."""
    members = {}
    rows = []
    for n in range(count):
        names = [f"single/{n}_in.jpg", f"single/{n}_out.jpg"]
        members |= {name: picture(hash_number(name), form="JPEG") for name in names}
        rows.append(
            {
                "instruction": f"<img><|image_1|></img> the dog {n} jumps",
                "input_images": [names[0]],
                "output_image": names[1],
            }
        )
    link = tarfile.TarInfo("single/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    rows.append(
        {"instruction": "a link", "input_images": ["single/link.jpg"], "output_image": "single/0_out.jpg"}
    )
    write_tar(root / "single/single.tar.gz", members | {"single/link.jpg": link})
    split_file(root / "single/single.tar.gz", 4000)
    faces = {f"character/{n}.png": picture(7000 + n) for n in range(4)}
    write_tar(root / "character/character.tar.gz", faces)
    others = [
        {
            "instruction": f"face {n}",
            "input_images": [f"character/{n}.png"],
            "output_image": f"character/{n + 1}.png",
        }
        for n in (0, 2)
    ]
    write_jsonl(root / "web-image-1.jsonl", rows)
    write_jsonl(root / "character.jsonl", others)
    return rows, others, members | faces


def gzip_bomb(path, size):
    """A tar.gz of one member of zeros."""
    with gzip.open(path, "wb") as file:
        info = tarfile.TarInfo("zeros.png")
        info.size = size
        file.write(info.tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))

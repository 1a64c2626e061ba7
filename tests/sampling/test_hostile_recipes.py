"""Recipes that people load: the largest that we export come back, and a small file never takes the memory."""

import dataclasses
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from helpers import bundle
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file

from pf_core import bounded
from pf_core.errors import InputError
from pf_core.sampling.contact_sheet import read_sweep
from pf_core.sampling.edits import MAX_EDITS
from pf_core.sampling.export import WRITERS, export, read_recipe
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Trajectory, record

ROOT = Path(__file__).parents[2]
PATCHES = 4096  # of a 512-pixel network with 8-pixel patches, or a 256-pixel one with 4-pixel patches
SECONDS, MEGABYTES = 2, 50
TIMES = {"checkpoint": "shapes-pft", "sampler": "euler", "seeds": list(range(16))}


@pytest.fixture(scope="module")
def run():
    return record(Run(bundle(), SampleSpec("nano", "look_ahead", nfe=8, labels=["star"], seeds=[3])))


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_the_largest_recipe_that_is_exported_loads_back(run, tmp_path, suffix):
    edit = {"kind": "hold_back", "patches": list(range(PATCHES)), "outer": 1, "image": 15, "amount": 0.123456789}
    recipe = run.recipe | {"edits": [edit] * MAX_EDITS, "seeds": [2**32 - 1] * 1024, "labels": ["crescent"] * 1024}
    recipe |= {"ts": [i / 1000 for i in range(1001)]}
    largest = dataclasses.replace(run, recipe=recipe)
    export(largest, bundle().codec, tmp_path / f"x{suffix}")
    found = read_recipe(tmp_path / f"x{suffix}")
    assert found == json.loads(json.dumps(recipe)) and SampleSpec.from_dict(found).ts == recipe["ts"]
    if suffix == ".safetensors":
        assert Trajectory.load(tmp_path / f"x{suffix}").recipe == found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-32"])
def test_a_recipe_that_notepad_or_powershell_saved_is_read(tmp_path, encoding):
    text = json.dumps({"checkpoint": "nano", "labels": ["é"]}, ensure_ascii=False).replace(", ", ",\r\n")
    marked = encoding == "utf-16-le-mark"
    content = b"\xff\xfe" + text.encode("utf-16-le") if marked else text.encode(encoding)
    (tmp_path / "x.json").write_bytes(content)
    assert read_recipe(tmp_path / "x.json") == {"checkpoint": "nano", "labels": ["é"]}


def png_with(kind, content):
    """A small PNG with a chunk of this kind."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (kind, content), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def hostile(folder):
    """Files that ask for far more than they hold."""
    times = [0.0, *(i / 1e7 for i in range(1, 100_000)), 1.0]
    empties = b"[" + b"{}," * 5_000_000 + b"{}]"
    (folder / "times.json").write_text(json.dumps(TIMES | {"ts": times}))
    (folder / "moretimes.json").write_text(json.dumps(TIMES | {"ts": times * 4}))
    (folder / "seeds.json").write_text(json.dumps(TIMES | {"seeds": list(range(250_000))}))
    (folder / "empties.json").write_bytes(b'{"checkpoint": "x", "edits": ' + empties + b"}")
    (folder / "fewer.json").write_bytes(b'{"checkpoint": "x", "edits": ' + empties[:5_000_000] + b"{}]}")
    (folder / "deep.json").write_bytes(b'{"a":' * 1_000_000)
    (folder / "lists.json").write_bytes(b"[" * 5_000_000)
    (folder / "wide.json").write_text("[" + ",".join(f'"x{i}"' for i in range(500_000)) + "]")
    (folder / "bomb.png").write_bytes(png_with(b"zTXt", b"recipe\0\0" + zlib.compress(bytes(60_000_000), 1)))
    many = b"iTXt", b"recipe\0\1\0\0\0" + zlib.compress(b"{}," * 10_000_000, 1)
    (folder / "many.png").write_bytes(png_with(*many))
    (folder / "comment.gif").write_bytes(
        b"GIF89a\1\0\1\0\0\0\0!\xfe" + (b"\xff" + b"{}," * 85) * 40_000 + b"\0,\0\0\0\0\1\0\1\0\0\2\0;"
    )
    exif = b"EXIF" + struct.pack("<I", 20_000_000) + b"MM\0*" + bytes(20_000_000)
    (folder / "exif.webp").write_bytes(b"RIFF" + struct.pack("<I", len(exif) + 4) + b"WEBP" + exif)
    inner = b"data" + bytes(8) + b"{}," * 5_000_000
    for name in (None, b"\xa9cmt", b"ilst", b"meta", b"udta", b"moov"):
        inner = inner if name is None else name + (bytes(4) if name == b"meta" else b"") + inner
        inner = struct.pack(">I", len(inner) + 4) + inner
    (folder / "comment.mp4").write_bytes(struct.pack(">I", 16) + b"ftypisom\0\0\2\0" + inner)
    save_file({"x0": torch.zeros(1)}, folder / "header.safetensors", metadata={"recipe": empties.decode()})
    cut = struct.pack("<Q", 2**62) + b"{}"
    (folder / "cut.safetensors").write_bytes(cut)


LOOK = """
import json, re, sys, time
from pathlib import Path
from app.links import read
from pf_core.errors import InputError
from pf_core.sampling.contact_sheet import read_sweep
def peak(): return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    for kind, load in (("recipe", read), ("sweep", read_sweep)):
        before, begin = peak(), time.perf_counter()
        try:
            load(str(path)); said = "read"
        except InputError as e:
            said = str(e)
        found[f"{path.name} {kind}"] = [said, time.perf_counter() - begin, peak() - before]
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_small_file_that_asks_for_gigabytes_is_a_sentence_at_once_and_takes_no_memory(tmp_path):
    hostile(tmp_path)
    done = subprocess.run([sys.executable, "-c", LOOK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 2 * len(list(tmp_path.iterdir()))
    assert not [name for name, (said, _, _) in found.items() if said == "read" or "\n" in said or len(said) > 400]
    slow = {name: seconds for name, (_, seconds, _) in found.items() if seconds > SECONDS}
    assert not slow
    assert sum(grown for *_, grown in found.values()) < MEGABYTES, found


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
def test_a_recipe_in_any_text_chunk_of_a_png_is_read(tmp_path, chunk):
    info, text = PngImagePlugin.PngInfo(), '{"checkpoint": "nano"}'
    if "iTXt" in chunk:
        info.add_itxt("recipe", text, zip=chunk.startswith("compressed"))
    else:
        info.add_text("recipe", text, zip=chunk == "zTXt")
    Image.new("L", (2, 2)).save(tmp_path / "x.png", pnginfo=info)
    assert read_recipe(tmp_path / "x.png") == {"checkpoint": "nano"}


def test_a_comment_after_the_first_picture_of_a_gif_is_found(tmp_path):
    frames = [Image.new("P", (20, 20), k) for k in range(3)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:], loop=0)
    content = (tmp_path / "x.gif").read_bytes()
    comment = b'!\xfe\x16{"checkpoint": "nano"}\0'
    (tmp_path / "x.gif").write_bytes(content[:-1] + comment + content[-1:])
    assert read_recipe(tmp_path / "x.gif") == {"checkpoint": "nano"}


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x08ftyp"])
def test_half_a_picture_is_a_sentence(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match="holds no recipe"):
        read_recipe(tmp_path / "x.png")
    with pytest.raises(InputError, match="holds no sweep"):
        read_sweep(tmp_path / "x.png")


def test_a_time_grid_longer_than_any_run_is_refused_wherever_it_comes_from():
    spec = SampleSpec("nano", "euler", ts=[i / 2000 for i in range(2001)])
    with pytest.raises(InputError, match="at most 1,001 times"):
        Run(bundle(), spec)
    with pytest.raises(InputError, match="2,001 ts"):
        SampleSpec.from_dict(spec.to_dict())


def test_marks_inside_of_texts_are_no_parts():
    prompts = [":" * 49, "[" * 20, "{,]" * 100 + '\\"'] * 1100
    assert bounded.parse_json(json.dumps(prompts)) == prompts
    for text in ('"' + r"\"" * 2**20, '":' * 2**20, '""' * 2**20 + "," * 2**19, "[" * 30_000 + '"'):  # in time, too
        with pytest.raises(ValueError):
            bounded.parse_json(text)


def test_a_long_number_or_a_lone_half_of_a_sign_is_no_json(tmp_path):
    for text in (
        "1" * 5000,
        r'{"checkpoint": "\ud800"}',
        r'["\uDFFF x"]',
        '"\ud800"'.encode("utf-16", "surrogatepass"),
        b"\xff\xfe\x00",
    ):
        with pytest.raises(ValueError):
            bounded.parse_json(text)
    for whole in (r'"\ud83d\ude00"', '"\U0001f600"', r'"\\ud800"'):  # a pair, a sign, and a backslash before letters
        assert bounded.parse_json(whole)

"""Whatever people drop: a sentence for each bad thing, the good ones used if they agree, nothing written elsewhere."""

import io
import json
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from own_pictures import huge_png, picture, tree, two_classes, zipped
from PIL import Image

from pf_core.cli import main
from pf_core.data.own import image_io, importer, library, paths
from pf_core.data.own.dataset import Folder
from pf_core.data.own.importer import Limits, drop, keep, take
from pf_core.data.own.library import remove, sets
from pf_core.errors import InputError

ROOT = Path(__file__).parents[2]


def reasons(report):
    return {s.name: s.reason for s in report.skipped}


def everything(under):
    return sorted(p.relative_to(under).as_posix() for p in Path(under).rglob("*") if p.is_file())


# taking in


def test_a_zip_becomes_a_data_set_once_it_is_kept(home, tmp_path):
    path = zipped(tmp_path / "My Colours!.zip", two_classes() | {"red/0.txt": "the first red", "__MACOSX/x.png": "?"})
    report = take([path])
    assert (report.images, report.classes, report.captions) == (12, {"blue": 6, "red": 6}, 1)
    assert report.skipped == [] and "12 pictures in 2 classes: blue (6), red (6). 1 caption." in report.summary
    assert sets() == []
    name = keep(report.id)
    assert name.startswith("my-colours-") and [s.name for s in sets()] == [name] and paths.named() == [name]
    assert sets()[0].bytes == report.bytes > 0
    data = Folder(path=name, held_out=0.0)
    assert data.names == ["blue", "red"] and "the first red" in data.batch(range(12)).captions
    assert keep(take([path]).id) == name and len(sets()) == 1  # the same again is the same
    remove(name)
    assert sets() == [] and not (home / name).exists()


def test_a_list_of_sets_reads_each_once_until_it_changes(home, tmp_path, monkeypatch):
    name = keep(take([tree(tmp_path / "up", two_classes(2))]).id)
    read, plain = [], library._manifest
    monkeypatch.setattr(library, "_manifest", lambda folder: read.append(folder.name) or plain(folder))
    assert sets() == sets() and read == [name]
    path = home / name / paths.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"title": "renamed"}))
    assert sets()[0].title == "renamed" and read == [name] * 2
    path.write_text("{")
    assert sets() == []


def test_a_set_trains_as_the_folder_that_it_came_from(home, tmp_path):
    mine = tree(tmp_path / "mine" / "two", two_classes())
    name = keep(take([mine]).id)
    a, b = Folder(path=str(mine)), Folder(path=name)
    assert torch.equal(a.batch(range(40)).images, b.batch(range(40)).images)
    assert a.facts["digest"] == b.facts["digest"]


def test_what_is_stored_is_small_square_exact_and_without_metadata(home, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    report = take([tree(tmp_path / "up", {"a.png": picture(size=(1400, 900), exif=exif), "b.png": picture()})])
    folder_ = home / keep(report.id)
    stored = {e["name"]: folder_ / e["file"] for e in json.loads((folder_ / "manifest.json").read_text())["pictures"]}
    big, small = (Image.open(stored[n]) for n in ("a.png", "b.png"))
    assert big.size == (512, 512) and small.size == (30, 30)
    assert b"where I live" not in stored["a.png"].read_bytes() and not big.getexif()
    assert (np.array(small)[:, :15] == (200, 30, 30)).all()


def test_single_files_several_zips_and_names_that_meet(home, tmp_path):
    tree(tmp_path / "one", {"a.png": picture(), "a.txt": "a word"})
    tree(tmp_path / "other", {"a.png": picture((9, 200, 9))})
    report = take([tmp_path / "one" / "a.png", tmp_path / "one" / "a.txt", tmp_path / "other" / "a.png"])
    assert (report.images, report.classes, report.captions) == (2, {"all": 2}, 1)
    drop(report.id)
    zips = [zipped(tmp_path / f"{n}.zip", {"1.png": picture(c)}) for n, c in (("cat", (9, 9, 99)), ("dog", (99, 9, 9)))]
    assert take(zips).classes == {"cat": 1, "dog": 1}


def said(*sources):
    """Caption -> red of the picture it goes with, of what is taken in from these."""
    data = Folder(path=keep(take(sources).id), held_out=0.0)
    batch = data.batch(range(len(data)))
    reds = [round(float(v + 1) * 1.275) * 100 for v in batch.images[:, 0].amax((1, 2))]
    return dict(zip(batch.captions, reds, strict=True))


def test_a_caption_stays_with_its_picture_where_names_meet(home, tmp_path):
    for folder, red in (("x", 100), ("y", 200)):
        for name in ("set", f"photos.202{red // 100}"):
            tree(tmp_path / folder / name, {"1.png": picture((red, 0, 0)), "1.txt": f"red {red}"})
    both = {"red 100": 100, "red 200": 200}
    assert said(tmp_path / "x" / "set", tmp_path / "y" / "set") == both
    assert said(tmp_path / "x" / "photos.2021", tmp_path / "y" / "photos.2022") == both
    x, y = tmp_path / "x" / "set", tmp_path / "y" / "set"
    assert said(x / "1.png", y / "1.png", y / "1.txt") == {"": 100, "red 200": 200}
    (y / "1.png").rename(y / "1.jpg")
    assert said(x / "1.png", x / "1.txt", y / "1.jpg", y / "1.txt") == both
    assert said(x / "1.png", y / "1.txt") == {"red 200": 100}  # an upload puts each file into a folder of its own
    two = {f"{e}.{k}": v for e, red in (("e\u0301", 100), ("\u00e9", 200))
           for k, v in (("png", picture((red, 0, 0))), ("txt", f"red {red}"))}  # fmt: skip
    assert said(tree(tmp_path / "forms", two)) == both
    composed = {"e\u0301.png": picture((100, 0, 0)), "\u00e9.txt": "red 100"}
    assert said(tree(tmp_path / "mixed", composed)) == {"red 100": 100}


def test_what_can_be_chosen_are_sets_and_folders_of_the_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(tmp_path))
    monkeypatch.setenv("PATCH_FORCING_DATA", str(tmp_path / "sets"))
    tree(tmp_path / "birds", two_classes(1))
    name = keep(take([tmp_path / "birds"]).id)
    Folder(path=name).batch([0])
    assert paths.named() == [name, str(tmp_path / "birds")]


def test_what_is_dropped_or_forgotten_leaves_nothing(home, tmp_path):
    path = zipped(tmp_path / "a.zip", two_classes(1))
    report = take([path])
    drop(report.id)
    assert everything(home) == []
    old = take([path])
    os.utime(home / f".pending-{old.id}", (0, 0))
    new = take([path])
    for token in (old.id, report.id, "../../etc", "", "0" * 16):
        with pytest.raises(InputError, match="no longer waiting"):
            keep(token)
        drop(token)
    assert keep(new.id)


def test_a_damaged_set_is_a_sentence(home, tmp_path):
    name = keep(take([tree(tmp_path / "up", two_classes(2))]).id)
    stored = next((home / name / "pictures").rglob("*.webp"))
    stored.write_bytes(picture(kind="WEBP"))
    with pytest.raises(InputError, match=f"The data set {name} is damaged.*has been changed"):
        Folder(path=name).batch([0])
    for text in ("", "[]", '{"format": 1}', '{"format": 9}'):
        (home / name / "manifest.json").write_text(text)
        with pytest.raises(InputError, match="import its pictures again"):
            Folder(path=name)
    manifest = {"format": 1, "classes": ["a"], "pictures": [{"file": "../../x.png", "label": 0}]}
    (home / name / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="is damaged"):
        Folder(path=name)


# bad zips


def entry(name, **changes):
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    for key, value in changes.items():
        setattr(info, key, value)
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_zip_writes_nothing_outside_and_its_good_pictures_are_used(home, tmp_path):
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as z:
        z.writestr("x.png", picture())
    members = [
        ("good/1.png", picture()),
        ("../up.png", picture((1, 1, 1))),
        ("good/../../up.png", picture((1, 1, 2))),
        ("/etc/abs.png", picture((1, 1, 3))),
        ("C:\\abs.png", picture((1, 1, 4))),
        ("..\\..\\back.png", picture((1, 1, 5))),
        ("good\\2.png", picture((1, 1, 60))),  # some Windows programs write folders so
        (entry("link.png", external_attr=(stat.S_IFLNK | 0o777) << 16), "/etc/passwd"),
        ("good/1.png", picture((1, 1, 7))),
        ("good/inner.zip", nested.getvalue()),
        ("good/bomb.png", bytes(image_io.MAX_FILE + 1)),
        ("good/text.png", "I am text"),
        ("good/\x1b[31m\nred.png", "?"),
        ("good/.hidden.png", picture()),
    ]
    path = zipped(tmp_path / "up" / "evil.zip", members) if (tmp_path / "up").mkdir() is None else None
    before = everything(tmp_path)
    report = take([path])
    assert report.images == 2 and report.classes == {"good": 2}
    said = reasons(report)
    for name in ("../up.png", "good/../../up.png", "/etc/abs.png", "C:\\abs.png", "..\\..\\back.png"):
        assert said[name] == "has a path outside the zip"
    assert "links in a zip are not followed" in said["link.png"] and "twice" in said["good/1.png"]
    assert "not opened" in said["good/inner.zip"] and "at most 64 MB" in said["good/bomb.png"]
    assert "is not a picture" in said["good/text.png"] and "is not a picture" in said["good/?[31m?red.png"]
    assert len(said) == len(report.skipped) == 11
    written = set(everything(tmp_path)) - set(before)
    assert written and all(p.startswith(f"sets/.pending-{report.id}/") for p in written)
    keep(report.id)
    assert not (set(everything(tmp_path)) - set(before)) - set(f"sets/{p}" for p in everything(home))


def test_zips_that_cannot_be_used_are_sentences_and_leave_nothing(home, tmp_path):
    good = zipped(tmp_path / "good.zip", two_classes(1))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good.read_bytes()[:-40])
    text = tree(tmp_path, {"text.zip": "hello"}) / "text.zip"
    cases = [
        (zipped(tmp_path / "empty.zip", {}), "There is no usable picture here"),
        (zipped(tmp_path / "words.zip", {"a.doc": "x", "b.heic": "y"}), "a.doc is not a picture. b.heic is of a kind"),
        (cut, "cut.zip is not a readable zip, or is cut off"),
        (text, "text.zip is not a readable zip"),
        (tmp_path / "missing.zip", "There is no file"),
    ]
    for path, said in cases:
        with pytest.raises(InputError, match=said):
            take([path])
    with pytest.raises(InputError, match="There are no files"):
        take([])
    assert everything(home) == []


def test_a_zip_that_is_encrypted_or_damaged_inside(home, tmp_path):
    path = zipped(tmp_path / "a.zip", {"1.png": picture(), "2.png": picture((5, 5, 5)), "3.png": picture((6, 6, 6))})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as z:
        first, second = z.infolist()[:2]
    content[second.header_offset + 60] ^= 0xFF  # inside the second picture
    central = content.find(b"PK\x01\x02")
    content[central + 8] |= 1  # the first says that it is encrypted
    path.write_bytes(content)
    report = take([path])
    assert report.images == 1 and reasons(report)["1.png"] == "is encrypted"
    assert "is damaged inside the zip" in reasons(report)["2.png"]


def test_zip_bombs_are_refused_before_they_unpack(home, tmp_path):
    block = bytes(2**20)
    bomb = zipped(tmp_path / "bomb.zip", {f"{i}.png": block for i in range(40)})
    assert bomb.stat().st_size < 2**17
    with pytest.raises(InputError, match="unpacks to 0 GB|refused"):
        take([bomb], limits=Limits(unpacked=20 * 2**20))
    liar = bytearray(bomb.read_bytes())
    at = liar.find(b"PK\x01\x02")
    liar[at + 24 : at + 28] = struct.pack("<I", 10)  # says that it unpacks to ten bytes
    (tmp_path / "liar.zip").write_bytes(liar)
    with pytest.raises(InputError, match="no usable picture here"):
        take([tmp_path / "liar.zip"])
    many = tmp_path / "many.zip"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 64 * 2**20, 0, 0)
    with open(many, "wb") as f:
        f.truncate(64 * 2**20)  # a table of contents of 64 MB, were it read
        f.seek(0, 2)
        f.write(end)
    with pytest.raises(InputError, match="many.zip lists too many files: refused"):
        take([many])
    assert everything(home) == []


@pytest.mark.parametrize(
    "limits, said",
    [
        (Limits(arriving=100), "is larger than"),
        (Limits(one=100), "take more than"),
        (Limits(all=100), "All data sets together"),
        (Limits(spare=2**60), "disk is nearly full"),
    ],
)
def test_limits_leave_nothing_behind(home, tmp_path, limits, said):
    with pytest.raises(InputError, match=said):
        take([zipped(tmp_path / "a.zip", two_classes())], limits=limits)
    assert everything(home) == []


def test_a_full_disk_is_a_sentence(home, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="Cannot write .*No space left on device"):
        take([zipped(tmp_path / "a.zip", two_classes(1))])
    assert everything(home) == []


# odd pictures


def sixteen():
    pixels = np.zeros((30, 40), np.uint16)
    pixels[:, :20] = 200 * 256
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def animated(kind):
    frames = [Image.new("RGB", (40, 30), c) for c in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    return out.getvalue()


def turned(orientation):
    """A picture whose upper half is red once it is upright: stored turned, with the tag that says so."""
    upright = np.zeros((30, 40, 3), np.uint8)
    upright[:15] = (200, 0, 0)
    back = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns, anticlockwise, from upright to stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, back))).save(out, "JPEG", quality=98, exif=exif)
    return out.getvalue()


def alpha():
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[:, :20] = (200, 0, 0, 255)  # the rest is transparent black
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "content, places_, colour",
    [
        (picture(kind="JPEG", mode="CMYK", quality=98), "left", (200, 30, 30)),
        (picture(kind="TIFF", mode="CMYK"), "left", (200, 30, 30)),
        (picture(mode="L"), "left", (81, 81, 81)),
        (picture(mode="P"), "left", (204, 30, 30)),
        (sixteen(), "left", (200, 200, 200)),
        (animated("GIF"), "left", (200, 0, 0)),
        (animated("WEBP"), "left", (200, 0, 0)),
        (animated("PNG"), "left", (200, 0, 0)),
        (alpha(), "left", (200, 0, 0)),
        (alpha(), "right", (255, 255, 255)),
        *((turned(k), "top", (200, 0, 0)) for k in (3, 6, 8)),
    ],
)
def test_odd_pictures_come_in_as_people_see_them(content, places_, colour):
    seen = image_io.square(content, 16)
    part = {"left": seen[:, :7], "right": seen[:, 9:], "top": seen[:7]}[places_]
    assert seen.shape == (16, 16, 3) and np.abs(part.mean((0, 1)) - colour).max() <= 6
    read = image_io.read(content, 16)
    assert read.shape == (3, 16, 16) and torch.equal(read, torch.from_numpy(seen).permute(2, 0, 1) / 127.5 - 1)


def test_pictures_of_other_shapes_than_square_keep_their_upright(home):
    wide = image_io.read(turned(6), 8, 24)
    assert wide.shape == (3, 8, 24)
    assert (wide[0, :3] > 0.4).all() and (wide[0, 5:] < -0.9).all()


@pytest.mark.parametrize(
    "content, said",
    [
        (b"just words", "is not a picture that can be read"),
        (b"", "is not a picture"),
        (picture(size=(400, 400), mode="RGB")[:-200], "is damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is not a picture|is damaged"),
        (b"GIF89a" + bytes(30), "is not a picture|is damaged"),
        (b"<svg/>", "is not a picture"),
    ],
)
def test_a_file_that_is_no_picture_is_a_sentence(home, tmp_path, content, said):
    report = take([tree(tmp_path / "up", {"odd.png": content, "good.png": picture()})])
    assert report.images == 1 and list(reasons(report)) == ["odd.png"]
    with pytest.raises(InputError, match=f"odd.png {said}" if "|" not in said else said):
        image_io.read(tmp_path / "up" / "odd.png", 16)


MEASURE = """
import resource, sys
from pf_core.data.own import image_io
from pf_core.errors import InputError

def grown(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        print(image_io.square(open(name, "rb").read(), 32).shape)
    except InputError as e:
        print(e)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

image_io.square(open(sys.argv[1], "rb").read(), 32)  # Pillow's own needs come first
for name in sys.argv[2:]:
    grown(name)
"""


def test_memory_is_bounded_whatever_the_size(tmp_path):
    """A picture over the limit is refused by its header; one just under it takes one copy of its pixels."""
    content = {"small.png": picture(), "huge.png": huge_png(20_000), "large.png": huge_png(7_900)}
    paths = [str(tree(tmp_path, content) / name) for name in content]
    assert len(content["huge.png"]) < 2**18
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], cwd=ROOT, capture_output=True, text=True)
    refused, megabytes, shape, more = done.stdout.splitlines()
    assert refused == "The picture is larger than 64 megapixels." and int(megabytes) < 30
    assert shape == "(32, 32, 3)" and int(more) < 400


# the command


def test_the_command_looks_first_and_keeps_if_told(home, tmp_path, capsys):
    path = zipped(tmp_path / "mine.zip", two_classes(3) | {"red/text.png": "hello"})
    assert main(["data", str(path)]) == 0
    said = capsys.readouterr().out
    assert "red/text.png is not a picture" in said and "6 pictures in 2 classes" in said and "1 file not used" in said
    assert everything(home) == []
    assert main(["data", str(path), "--keep", "--title", "Six"]) == 0
    name = sets()[0].name
    assert name.startswith("six-") and f"--path {name}" in capsys.readouterr().out
    assert main(["data"]) == 0 and name in capsys.readouterr().out
    assert main(["data", "--remove", name]) == 0 and sets() == []
    assert main(["data", str(tmp_path / "nothing")]) == 2 and main(["data", "--remove", "../mine"]) == 2


def test_summaries_count_in_words():
    assert importer.describe(1, {"all": 1}, 0, 0).startswith("1 picture in 1 class: all (1). A network trained on a")
    many = {f"c{i}": 2 for i in range(40)}
    assert importer.describe(80, many, 3, 2) == (
        "80 pictures in 40 classes: " + ", ".join(f"c{i} (2)" for i in range(12)) + " and 28 more. 3 captions. "
        "2 files not used."
    )

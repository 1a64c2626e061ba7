"""Labels, captions and names as people bring them: read right, or told in a sentence; never silently wrong."""

import json
import tracemalloc
import zipfile
from time import process_time
from unicodedata import normalize

import pytest
from own_pictures import picture, tree, zipped

from pf_core import files
from pf_core.data.own import metadata, names
from pf_core.data.own.dataset import Folder
from pf_core.data.own.importer import drop, keep, listed, take
from pf_core.errors import InputError


def pictures(*called):
    """{name: bytes}, no two pictures alike."""
    return {name: picture((30 + 7 * i % 200, 60, 90)) for i, name in enumerate(called)}


def found(path):
    """{name: (class, caption)} and the sentences of what was found."""
    listing = listed([path])
    return {i.entry.name: (listing.classes[i.label], i.caption) for i in listing.items}, " ".join(listing.notes)


def unflagged(path, names_, codec):
    """A zip whose names are in this encoding and which does not say so."""
    raw = [name if isinstance(name, bytes) else name.encode(codec) for name in names_]
    stand_ins = [chr(ord("a") + i) * len(name) for i, name in enumerate(raw)]
    content = zipped(path, pictures(*stand_ins)).read_bytes()
    for name, stand_in in zip(raw, stand_ins, strict=True):
        content = content.replace(stand_in.encode(), name)
    path.write_bytes(content)
    return path


def lines(*rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


# names


def test_a_zip_made_on_a_mac_keeps_its_umlauts(home, tmp_path):
    names_ = ["Blumen/Gänseblümchen/1.png", "Blumen/Rose/1.png", "Blumen/猫/1.png"]
    zip_ = unflagged(tmp_path / "mac.zip", names_, "utf-8")
    assert not any(m.flag_bits & 0x800 for m in zipfile.ZipFile(zip_).infolist())
    seen, said = found(zip_)
    assert [c for c, _ in seen.values()] == ["Gänseblümchen", "Rose", "猫"] and said == ""


@pytest.mark.parametrize(
    "codec, names_, called",
    [
        ("cp932", ["猫/1.png", "犬/1.png"], "Japanese"),
        ("cp437", ["Gänseblümchen/1.png", "Rose/1.png"], "cp437"),
        ("cp1252", ["Äpfel/1.png", "Niño/2.png"], "Western Windows"),
        ("gbk", ["花/玫瑰/1.png", "花/郁金香/1.png"], "GBK"),
        ("cp866", ["кошка/1.png", "Собака/2.png"], "Russian"),
    ],
)
def test_a_zip_in_an_older_encoding_is_read_and_says_how(home, tmp_path, codec, names_, called):
    seen, said = found(unflagged(tmp_path / "old.zip", names_, codec))
    assert sorted(seen) == sorted(names_)
    assert "does not say how its names are written" in said and called in said


def test_a_zip_whose_names_cannot_be_read_says_so(home, tmp_path):
    seen, said = found(unflagged(tmp_path / "odd.zip", [b"rose\xb0\xb0/1.png", b"tulip/\xb0.png"], None))
    assert len(seen) == 2 and "2 of its names are written, and they could not be read" in said


def test_a_name_is_one_however_its_letters_are_composed(home, tmp_path):
    apart = {normalize("NFD", name): body for name, body in pictures("café/1.png", "thé.png").items()}
    together = {"café/2.png": picture(), "thé.txt": "with milk"}
    mine = tree(
        tmp_path / "mine" / "tea",
        apart | together | {"metadata.jsonl": lines({"file_name": "café/1.png", "text": "x"})},
    )
    seen, said = found(mine)
    assert seen == {"café/1.png": ("café", "x"), "café/2.png": ("café", ""), "thé.png": ("other", "with milk")}
    assert "1 line, 1 matched" in said


@pytest.mark.parametrize("written", ["imgs\\a.png", "./imgs/a.png", "imgs//a.png", "other/../imgs/./a.png"])
def test_metadata_may_write_a_path_in_any_way(home, tmp_path, written):
    content = pictures("imgs/a.png") | {"metadata.jsonl": lines({"file_name": written, "label": "q"})}
    seen, said = found(zipped(tmp_path / "a.zip", content))
    assert seen["imgs/a.png"][0] == "q" and said == "Metadata: 1 line, 1 matched."


def test_metadata_may_lie_beside_the_folder_of_its_pictures(home, tmp_path):
    content = pictures("imgs/a.png") | {"about/metadata.jsonl": lines({"file_name": "../imgs/a.png", "label": "q"})}
    assert found(zipped(tmp_path / "a.zip", content))[0]["imgs/a.png"][0] == "q"


def test_comparable_names_keep_out_what_leads_out():
    for name, out in [
        ("a/../../b", True),
        ("../b", True),
        ("/b", True),
        ("C:\\b", True),
        ("a/../b", False),
        (".b", False),
    ]:
        assert names.leads_out(names.comparable(name)) is out, name


def test_two_long_classes_that_differ_in_the_middle_stay_two(home, tmp_path):
    long = ["a" * 45 + f"-{c}-" + "b" * 30 for c in ("blue", "red")]
    longer = ["c" * 300 + f"-{c}-" + "d" * 300 for c in ("blue", "red")]
    seen, _ = found(zipped(tmp_path / "long.zip", pictures(*(f"{name}/1.png" for name in long + longer))))
    classes = [c for c, _ in seen.values()]
    assert classes[:2] == long and len(set(classes)) == 4 and max(map(len, classes)) <= 255


def test_joiners_inside_of_words_and_emoji_stay_and_commands_to_a_terminal_do_not(home, tmp_path):
    kept, harmful = ["می\u200cخواهم", "👩\u200d🚀"], "red\x1b[31m\u202e"
    seen, _ = found(zipped(tmp_path / "a.zip", pictures(*(f"{n}/1.png" for n in [*kept, harmful]))))
    classes = {c for c, _ in seen.values()}
    assert classes == {*kept, "red\\x1b[31m\\u202e"}
    assert names.printable(kept[0]) == kept[0] and names.printable("a\u2028b\x1b") == "a?b?"


def test_classes_that_are_numbers_come_in_their_order(home, tmp_path):
    mine = tree(tmp_path / "mine" / "n", pictures(*(f"{i}/1.png" for i in range(1, 12)), "img10b/1.png", "img9/1.png"))
    assert Folder(path=str(mine)).names == [*map(str, range(1, 12)), "img9", "img10b"]


# metadata


def test_a_line_separator_inside_of_a_caption_does_not_tear_its_line(home, tmp_path):
    rows = [
        {"file_name": f"{i}.png", "text": f"a red{c}rose", "label": "rose"}
        for i, c in enumerate("\u2028\u2029\x85\x0b\x1e")
    ]
    seen, said = found(
        zipped(tmp_path / "a.zip", pictures(*(r["file_name"] for r in rows)) | {"metadata.jsonl": lines(*rows)})
    )
    assert {c for c, _ in seen.values()} == {"rose"} and "5 lines, 5 matched." in said
    assert seen["0.png"][1] == "a red\u2028rose"


def test_metadata_that_names_other_files_is_counted_in_a_sentence(home, tmp_path):
    rows = [{"file_name": n, "label": "q"} for n in ("a.png", "train/a.png", "train/b.png", "A.png")]
    path = zipped(tmp_path / "a.zip", pictures("a.png", "b.png") | {"metadata.jsonl": lines(*rows)})
    assert (
        "Metadata: 4 lines, 1 matched, 3 unmatched (no picture is called 'train/a.png'), 1 picture without a line."
        in found(path)[1]
    )
    report = take([path])
    assert "3 unmatched" in report.summary
    drop(report.id)


@pytest.mark.parametrize(
    "value, label, said",
    [
        (1.0, "1", "1 matched."), (3, "3", "1 matched."),
        (0.5, "0.5", "1 matched."), (["rose"], "rose", "1 matched."), (0, "0", "1 matched."),
        (["rose", "red"], "all", "1 value not understood (the label in line 1 of metadata.jsonl)"),
        ({"name": "rose"}, "all", "1 value not understood"),
        (None, "all", "1 matched."), (float("nan"), "all", "1 matched."),
    ],
)  # fmt: skip
def test_labels_of_other_kinds_are_read_or_counted(home, tmp_path, value, label, said):
    seen, told = found(
        zipped(
            tmp_path / "a.zip", pictures("a.png") | {"metadata.jsonl": lines({"file_name": "a.png", "label": value})}
        )
    )
    assert seen["a.png"][0] == label and said in told


def test_of_several_captions_the_first_is_taken_and_said(home, tmp_path):
    rows = [
        {"file_name": "a.png", "text": ["a dog", "dog"]},
        {"file_name": "b.png", "text": ["one"]},
        {"file_name": "c.png", "text": {}},
    ]
    seen, said = found(
        zipped(tmp_path / "a.zip", pictures("a.png", "b.png", "c.png") | {"metadata.jsonl": lines(*rows)})
    )
    assert [caption for _, caption in seen.values()] == ["a dog", "one", ""]
    assert (
        "1 caption of several texts (the first counts)" in said
        and "1 value not understood (the caption in line 3" in said
    )


@pytest.mark.parametrize(
    "text",
    [
        "file_name,label,text\na.png,1.0,\"red, and\nround\"\nb.png,,\n",
        "\ufefffile_name;label;text\r\na.png;1;red, and round\r\n\r\nb.png;;\r\n",
        "text,id,file_name,label\n\"red, and round\",7,a.png,1\n,8,b.png,nan\n",
    ],
)  # fmt: skip
def test_metadata_csv_is_read_as_an_image_folder_has_it(home, tmp_path, text):
    seen, said = found(zipped(tmp_path / "a.zip", pictures("a.png", "b.png") | {"metadata.csv": text}))
    assert seen == {"a.png": ("1", "red, and round"), "b.png": ("all", "")} and "2 lines, 2 matched." in said
    assert listed([tmp_path / "a.zip"]).skipped == []


def test_a_metadata_csv_that_says_nothing_of_pictures_is_named(home, tmp_path):
    listing = listed([zipped(tmp_path / "a.zip", pictures("a.png") | {"metadata.csv": "name,label\na.png,q\n"})])
    assert "metadata.csv has no column file_name" in str(listing.skipped[0])
    torn = "file_name,text\na.png,red, and round\n"
    listing = listed([zipped(tmp_path / "b.zip", pictures("a.png") | {"metadata.csv": torn})])
    assert "1 unreadable" in listing.notes[0] and listing.items[0].caption == ""


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["jsonl", "list", "csv"])
def test_metadata_is_read_in_every_encoding_that_has_a_mark(home, tmp_path, codec, kind):
    row = {"file_name": "a.png", "label": "Gänseblümchen", "text": "weiß"}
    text = {
        "jsonl": lines(row),
        "list": json.dumps([row], indent=1),
        "csv": ",".join(row) + "\n" + ",".join(row.values()),
    }[kind]
    content = ("\ufeff" * (codec == "utf-16-be") + text).encode(codec)
    seen, said = found(
        zipped(tmp_path / "a.zip", pictures("a.png") | {f"metadata.{'csv' if kind == 'csv' else 'jsonl'}": content})
    )
    assert seen == {"a.png": ("Gänseblümchen", "weiß")} and said == "Metadata: 1 line, 1 matched."


def test_a_line_of_metadata_in_another_encoding_is_counted_and_named(home, tmp_path):
    content = (
        lines({"file_name": "a.png", "label": "Gänseblümchen"}).encode("cp1252")
        + lines({"file_name": "b.png", "label": "q"}).encode()
    )
    listing = listed([zipped(tmp_path / "a.zip", pictures("a.png", "b.png") | {"metadata.jsonl": content})])
    assert listing.classes == ["all", "q"] and "2 lines, 1 matched, 1 unreadable" in listing.notes[0]
    assert "line 1" in str(listing.skipped[0])


def test_captions_are_read_by_their_mark_or_the_file_is_named(home, tmp_path):
    texts = {
        "a.txt": "Gänseblümchen".encode("utf-16"),
        "b.txt": b"G\xe4nsebl\xfcmchen",
        "c.txt": "weiß".encode("utf-16-le"),
        "d.txt": "\ufeffweiß",
    }
    listing = listed([zipped(tmp_path / "a.zip", pictures("a.png", "b.png", "c.png", "d.png") | texts)])
    assert [i.caption for i in listing.items] == ["Gänseblümchen", "", "", "weiß"]
    assert [s.name for s in listing.skipped] == ["b.txt", "c.txt"] and "save it as UTF-8" in str(listing.skipped[0])


BODIES = {
    "a million bad lines": ("{}\n" * 1_000_000, "1,000,000 lines, 0 matched, 1,001 unreadable, 998,999 left unread"),
    "lines of nothing": ("x\n" * 3_000_000, "3,000,000 lines"),
    "one endless line": ("[" * 6_000_000, "1 unreadable"),
    "other people's pictures": (lines({"file_name": "b.png"}) * 40_000, "10,000 left unread"),
    "a list of nothing": ("[" + "{}," * 1_000_000, "left unread"),
}


@pytest.mark.parametrize("what", BODIES)
def test_metadata_that_asks_for_too_much_is_counted_not_kept(home, tmp_path, monkeypatch, what):
    monkeypatch.setattr(metadata, "MAX_LINES", 30_000)
    body, said = BODIES[what]
    path = zipped(tmp_path / "a.zip", pictures("a.png") | {"metadata.jsonl": body})
    began = process_time()
    told = found(path)[1]
    took = process_time() - began
    assert said in told and took < 4, took  # about a second here; on a busy machine twice that


def test_a_million_bad_lines_take_little_memory(home, tmp_path):
    path = zipped(tmp_path / "a.zip", pictures("a.png") | {"metadata.jsonl": "{}\n" * 1_000_000})
    tracemalloc.start()
    found(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 2**20


# folders called train, val and test


def test_train_val_and_test_are_parts_of_a_set_and_not_its_classes(home, tmp_path):
    names_ = [
        "f/train/rose/1.png",
        "f/train/tulip/2.png",
        "f/train/rose/5.png",
        "f/val/rose/3.png",
        "f/test/tulip/4.png",
    ]
    mine = tree(tmp_path / "mine" / "split", pictures(*names_))
    for path in (str(mine), keep(take([mine]).id)):
        data = Folder(path=path, held_out=0.0)
        assert data.names == ["rose", "tulip"] and len(data) == 3 and data.held == 2
        assert "the 2 pictures of test and val are held out" in data.notes[0] if path == str(mine) else True
    before = Folder(path=str(mine)).facts["digest"]
    (mine / "f" / "val" / "rose" / "3.png").rename(mine / "f" / "train" / "rose" / "3.png")
    assert Folder(path=str(mine)).facts["digest"] != before  # other pictures are trained on


def test_splits_may_have_their_labels_in_metadata(home, tmp_path):
    content = pictures("train/1.png", "train/2.png", "test/3.png")
    content |= {
        "train/metadata.csv": "file_name,label\n1.png,a\n2.png,b\n",
        "test/metadata.csv": "file_name,label\n3.png,b\n",
    }
    data = Folder(path=str(tree(tmp_path / "mine" / "s", content)))
    assert data.names == ["a", "b"] and (len(data), data.held) == (2, 1)


@pytest.mark.parametrize(
    "names_, classes, noted",
    [
        (["train/1.png", "test/2.png"], ["all"], False),  # no classes inside: as classes none would be held out
        (["train/rose/1.png", "test/tulip/2.png"], ["test", "train"], True),
        (["train/rose/1.png", "test/rose/2.png", "plane/rose/3.png"], ["plane", "test", "train"], False),
        (["train/rose/1.png", "train/tulip/2.png"], ["rose", "tulip"], False),
    ],
)
def test_folders_that_only_look_like_parts_are_classes_and_that_is_said(home, tmp_path, names_, classes, noted):
    listing = listed([tree(tmp_path / "mine" / "x", pictures(*names_))])
    assert listing.classes == classes and ("are read as classes" in " ".join(listing.notes)) is noted


# any text that a person brings


def test_a_text_is_read_by_its_mark_or_refused():
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert files.decoded("weiß".encode(codec)) == "weiß"
    for content in ("weiß".encode("cp1252"), "ab".encode("utf-16-le"), b"\xff\xfea"):
        with pytest.raises(InputError, match="x.txt .*save it as UTF-8"):
            files.decoded(content, "x.txt")

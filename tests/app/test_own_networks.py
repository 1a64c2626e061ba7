"""Networks of others in the app: added from files, kept by bytes, shown and decoded; memory that runs out."""

import os
import shutil
import socket
import time
import weakref

import pytest
import torch
from app_world import answered, client, ended, networks, spec, state, unpack  # noqa: F401
from latents_world import CHANNELS, SIDE, world  # noqa: F401

from app import controls
from app.handlers import StatusLine
from app.memory import Trimmer
from app.networks import Loaded, size_of
from app.tabs.explore.add import AddNetwork
from app.tabs.explore.decoded import Decoded
from pf_core import memory
from pf_core.cli import bench_sampling
from pf_core.errors import InputError
from pf_core.models import SiTConfig, autoencoder, build, checkpoint
from pf_core.models.codecs import to_uint8
from pf_core.sampling.memory import check_fits, needed
from pf_core.sampling.run import resolve


@pytest.fixture
def on_latents(world, networks, monkeypatch):  # noqa: F811
    """The name of a network on latents."""
    shutil.copy(world / "runs" / "net" / "network.safetensors", networks / "on-latents.safetensors")
    yield "on-latents"
    (networks / "on-latents.safetensors").unlink()


def asked(network, **changes):
    return spec(**{"checkpoint": network, "labels": ["star"], "nfe": 5} | changes)


# what is shown


def test_a_run_on_latents_is_shown_by_previews_and_its_result_decoded(state, client, on_latents):  # noqa: F811
    run = ended(state.start(asked(on_latents)))
    assert (run.state, run.message) == ("done", "")
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames").content)
    assert header["shape"] == [2, SIDE, SIDE]
    codec, last = run.codec, run.trajectory
    assert (frames[-1]["x"] == to_uint8(codec.decode(last.x1)).numpy()).all()
    assert abs(frames[1]["x1_hat"].astype(int) - to_uint8(codec.preview(last.frames[1].x1_hat)).numpy()).max() < 60


def test_any_frame_is_decoded_when_asked_for(state, on_latents):  # noqa: F811
    import gradio as gr

    with gr.Blocks():
        shown = Decoded(state, gr.State(""), StatusLine())
    run = ended(state.start(asked(on_latents)))
    assert shown.on_shown(run.id)[shown.box]["visible"] and not shown.on_shown("gone")[shown.box]["visible"]
    found = shown.on_click('{"image": 1, "frames": [2]}', run.id)[shown.picture]
    assert "Image 2, x1_hat of NFE 3" in found and "data:image/png" in found
    assert "the result" in shown.on_click('{"image": 0, "frames": [5]}', run.id)[shown.picture]
    for wrong in ("[]", '{"frames": "x"}', "{"):
        assert "could not be read" in answered(shown.on_click, "said", wrong, run.id)["said"]
    assert not shown.on_shown(ended(state.start(spec())).id)[shown.box]["visible"]


def test_without_its_autoencoder_a_result_is_a_preview_that_says_so(state, on_latents, monkeypatch):  # noqa: F811
    state.bundle(on_latents)
    monkeypatch.setattr(autoencoder.importlib.util, "find_spec", lambda name: None)
    autoencoder.forget()
    run = ended(state.start(asked(on_latents)))
    assert run.state == "done" and "shown as a preview. Reading an autoencoder needs" in run.message
    assert run.heads[-1]["phase"] == "final"


def test_classes_of_a_thousand_without_names_are_imagenets(state, networks):  # noqa: F811
    shape = {"in_channels": 4, "input_size": 8, "depth": 1, "hidden_size": 32, "num_heads": 2}
    path = networks / "thousand.safetensors"
    checkpoint.save(path, build(SiTConfig(**shape)), [], {}, codec="latents", codec_settings={"channels": 4})
    names = controls.classes(state, "thousand")
    assert len(names) == 1001 and names[207] == "Golden Retriever"
    first = ended(state.start(asked("thousand", labels=["Golden Retriever"])))
    assert "shown as a preview. This network works on an autoencoder's latents: name its folder" in first.message
    assert torch.equal(ended(state.start(asked("thousand", labels=["207"]))).trajectory.x1, first.trajectory.x1)
    path.unlink()


@pytest.mark.slow  # a file of 0.5 GB, 15 passes
def test_a_run_of_a_released_size_goes_through_and_says_what_it_took(state, networks):  # noqa: F811
    model, path = bench_sampling.network("B/2").model, networks / "b-2.safetensors"
    checkpoint.save(
        path, model, [], {}, codec="latents", codec_settings={"channels": 4}, dtype=torch.float32, positions="kept"
    )
    try:
        started = state.start(asked("b-2", labels=["Golden Retriever"], sampler="look_ahead", nfe=16, seeds=[0]))
        run = ended(started, seconds=1200)
    finally:
        path.unlink()
    assert run.state == "done" and [h["nfe"] for h in run.heads] == [*range(1, 16), 15]
    assert run.trajectory.x1.isfinite().all() and run.trajectory.x1.shape == (1, 4, 32, 32)
    print(f"B/2, look-ahead: {run.trajectory.seconds / 15:.2f} seconds an NFE")


# kept by bytes


def test_the_longest_unused_networks_leave_when_all_are_larger_than_the_limit(networks):  # noqa: F811
    each = size_of(checkpoint.load("nano"))
    for k in range(3):
        shutil.copy(networks / "nano.safetensors", networks / f"n{k}.safetensors")
    left = []
    loaded = Loaded(int(2.5 * each), lambda: left.append(1))
    first = loaded.get("n0")
    assert loaded.get("n1") and loaded.get("n0") is first
    loaded.get("n2")
    assert loaded.names() == ["n0", "n2"] and left == [1]
    assert loaded.get("n0") is first
    small = Loaded(each // 2)
    assert small.get("n0") and small.get("n1") and small.names() == ["n1"]  # the newest stays
    for k in range(3):
        (networks / f"n{k}.safetensors").unlink()


def test_names_that_are_no_networks_leave_nothing_behind(networks):  # noqa: F811
    loaded = Loaded()
    for name in ("runs/nothing1", "nothing"):
        with pytest.raises(InputError):
            loaded.get(name)
    assert not loaded._loading


def test_a_network_that_does_not_fit_is_a_sentence(networks, monkeypatch):  # noqa: F811
    monkeypatch.setattr(checkpoint, "loaded_bytes", lambda path: 3 * 10**9)
    monkeypatch.setattr(memory, "available", lambda device="cpu": 2 * 10**9)
    with pytest.raises(InputError, match="The network nano needs about 3.0 GB of memory, and 2.0 GB are free here"):
        Loaded().get("nano")


# memory


def test_a_run_that_will_not_fit_is_refused_before_it_begins(state, monkeypatch):  # noqa: F811
    monkeypatch.setattr(memory, "SMALL", 0)
    bundle = state.bundle("nano")
    few, many = (resolve(spec(seeds=list(range(n)), nfe=64), bundle) for n in (1, 16))
    assert needed(bundle, many) > 10 * needed(bundle, few)
    monkeypatch.setattr(memory, "available", lambda device="cpu": 2 * needed(bundle, few))
    check_fits(bundle, few)
    with pytest.raises(InputError, match=r"This run \(16 images of 16 patches, 64 NFE\) needs about .* fewer images"):
        state.start(spec(seeds=list(range(16)), nfe=64))
    assert not len(state.runs)


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate 9"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999 bytes. Error code 12"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__)
def test_what_says_that_memory_ran_out_is_recognised(error):
    assert memory.ran_out(error) and not memory.ran_out(RuntimeError("shapes cannot be multiplied"))


def test_memory_that_runs_out_in_a_run_is_a_sentence_and_the_next_run_goes_on(state):  # noqa: F811
    bundle, held = state.bundle("nano"), []
    good = bundle.model

    class Hungry:
        grid, channels, config = good.grid, good.channels, good.config

        def __call__(self, *given):
            much = torch.zeros(1000, 1000)
            held.append(weakref.ref(much))
            raise OUT_OF_MEMORY[2]

    bundle.model = Hungry()
    run = ended(state.start(spec()))
    assert run.state == "failed" and run.message.startswith("Memory ran out: ask for fewer images")
    assert held and held[0]() is None  # nothing holds on to what it had
    assert state.loaded.names() == [] and ended(state.start(spec())).state == "done"


def test_memory_that_runs_out_in_a_handler_is_a_sentence_and_other_errors_stay(state):  # noqa: F811
    def hungry():
        raise OUT_OF_MEMORY[2]

    def wrong():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    assert "Memory ran out while" in answered(hungry, "said")["said"]
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        answered(wrong, "said")


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, text in {
        "memory.max": "1000",
        "memory.current": "900",
        "memory.stat": "anon 1\ninactive_file 50\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert memory.available() == 150
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 2**20


def test_what_pytorch_keeps_of_a_gpu_is_free_and_is_given_back(monkeypatch):
    given = []
    for name, value in {
        "mem_get_info": (100, 1000), "memory_reserved": 500, "memory_allocated": 200, "is_initialized": True,
        "empty_cache": None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *of, name=name, value=value: given.append(name) or value)
    assert memory.available("cuda") == 400
    assert Trimmer()() and given[-1] == "empty_cache"


# adding


def release(path, channels=4):
    """A small network in the releases' layout."""
    config = SiTConfig(
        in_channels=channels, input_size=8, depth=1, hidden_size=32, num_heads=2, num_classes=10, t_scale=1
    )
    settings = {"params": {"num_heads": 2, "depth": 1}}
    torch.save({"state_dict": build(config).state_dict(), "config": settings}, path)


@pytest.fixture
def page(networks, tmp_path):  # noqa: F811
    """(the section, its state) of a server that takes files from `tmp_path / "allowed"`."""
    import gradio as gr

    from app.state import AppState

    (tmp_path / "allowed").mkdir()
    state = AppState(recordings=tmp_path / "none", roots=[tmp_path / "allowed"])  # noqa: F811
    with gr.Blocks():
        section = AddNetwork(state)
    before = set(networks.iterdir())
    yield section, state
    for path in set(networks.iterdir()) - before:
        path.unlink()


def adds(section, **given):
    """The answers of a press on Add, as {name: value}."""
    given = {"file": None, "path": "", "name": "", "kind": section.kind.value, "encoder": section.encoder.value} | given
    names = {section.status: "said", section.report: "report", section.added: "added", section.file: "file"}
    answer, status = section.on_add, section.status
    from app.handlers import answering

    return [{names[k]: v for k, v in each.items()} for each in answering(answer, status)(**given)]


def test_a_released_network_is_added_by_its_path_with_an_autoencoder(page, world, tmp_path):  # noqa: F811
    section, state = page  # noqa: F811
    release(tmp_path / "allowed" / "tiny ema.ckpt", CHANNELS)
    shutil.copytree(world / "vae", tmp_path / "allowed" / "vae")
    choices = section.on_choices()[section.encoder]["choices"]
    assert choices[1:] == [str((tmp_path / "allowed" / "vae").resolve())]
    *_, last = adds(section, path="tiny ema.ckpt", encoder=choices[1])
    assert last["added"] == "tiny-ema" and "pft, depth 1, width 32, 2 heads" in last["report"]
    assert "tiny-ema" in state.networks()
    run = ended(state.start(asked("tiny-ema", labels=["3"], seeds=[0])))
    assert run.state == "done" and run.codec.full and run.codec.colours


def test_an_upload_is_added_deleted_and_limited(page, tmp_path, monkeypatch):
    section, state = page  # noqa: F811
    release(tmp_path / "up.pt")
    size = os.path.getsize(tmp_path / "up.pt")
    monkeypatch.setattr("app.adding.UPLOAD_BYTES", size - 1)
    assert "Uploads end at" in adds(section, file=str(tmp_path / "up.pt"))[-1]["said"]
    monkeypatch.setattr("app.adding.UPLOAD_BYTES", 2 * size)
    monkeypatch.setattr("app.adding.ADDED_BYTES", 1.5 * size)
    last = adds(section, file=str(tmp_path / "up.pt"))[-1]
    assert last["added"] == "up" and "Without that autoencoder" in last["report"]
    assert not (tmp_path / "up.pt").exists()
    release(tmp_path / "more.pt")
    assert "in all" in adds(section, file=str(tmp_path / "more.pt"))[-1]["said"]
    shutil.copy(checkpoint.FOLDER / "nano.safetensors", tmp_path / "allowed" / "own.safetensors")
    assert "taken as it is" in adds(section, path="own.safetensors")[-1]["report"]
    assert state.bundle("own").hash == state.bundle("nano").hash


def test_a_wrong_upload_is_called_by_its_name_is_not_counted_and_can_be_brought_again(page, tmp_path, monkeypatch):
    section, state = page  # noqa: F811
    wrong, text = tmp_path / "wrong.ckpt", "x" * 100
    monkeypatch.setattr("app.adding.ADDED_BYTES", 1.5 * len(text))
    for _ in range(2):
        wrong.write_text(text)
        last = adds(section, file=str(wrong))[-1]
        assert "wrong.ckpt" in last["said"] and str(tmp_path) not in last["said"] and last["file"] is None
    assert not wrong.exists() and state.additions._uploaded == 0
    cleared, last = adds(section, file=str(wrong))  # as of a second visitor who brought the same file
    assert cleared == {"file": None} and "upload it again" in last["said"]


def test_only_files_under_the_allowed_folders_are_opened(page, tmp_path):
    section, state = page  # noqa: F811
    release(tmp_path / "secret.pt")
    allowed = tmp_path / "allowed"
    (allowed / "link.pt").symlink_to(tmp_path / "secret.pt")
    (allowed / "way").symlink_to(tmp_path)
    for path in (
        tmp_path / "secret.pt",
        "../secret.pt",
        "link.pt",
        "way/secret.pt",
        tmp_path / "absent.pt",
        "/etc/passwd",
    ):
        said = adds(section, path=str(path))[-1]["said"]
        assert "outside of the folders" in said and "--networks-from" in said, path
    for path, says in {
        "": "Choose a file",
        "absent.pt": "no file",
        "a\0b.pt": "not the name",
        "x" * 5000: "no file|not the",
    }.items():
        assert any(word in adds(section, path=path)[-1]["said"] for word in says.split("|")), path
    assert section.on_choices()[section.encoder]["choices"][1:] == []
    release(allowed / "here.pt")
    assert "not in the list" in adds(section, path="here.pt", encoder=str(tmp_path))[-1]["said"]
    header = checkpoint.read_header(checkpoint.FOLDER / "nano.safetensors")
    codec = {"channels": 3, "autoencoder": str(tmp_path / "elsewhere")}
    model = checkpoint.load("nano").model
    checkpoint.save(allowed / "spy.safetensors", model, header["classes"], {}, codec="latents", codec_settings=codec)
    assert "names an autoencoder outside" in adds(section, path="spy.safetensors")[-1]["said"]
    assert "spy" not in state.networks()


def test_what_is_wrong_with_a_file_or_a_name_is_a_sentence(page, tmp_path):
    section, state = page  # noqa: F811
    allowed = tmp_path / "allowed"
    release(allowed / "a.pt")
    (allowed / "b.txt").write_text("x")
    (allowed / "c.ckpt").write_text("x")

    class Calls:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'it-ran'}",)

    torch.save({"state_dict": Calls()}, allowed / "evil.pt")
    for given, says in (
        ({"path": "a.pt", "name": "nano"}, "There is a network nano already"),
        ({"path": "a.pt", "name": "shapes-exact"}, "already"),
        ({"path": "a.pt", "name": "/../.."}, "Give the network a name"),
        ({"path": "a.pt", "kind": "dit"}, ""),
        ({"path": "b.txt"}, "no file of a network"),
        ({"path": "c.ckpt"}, "cannot be read"),
        ({"path": "evil.pt"}, "no weights"),
    ):
        *_, last = adds(section, **given)
        assert says in last["said"] and "\n" not in last["said"], given
    assert not (tmp_path / "it-ran").exists()


def test_one_network_is_added_at_a_time_and_the_page_is_told_how_far(page, tmp_path, monkeypatch):
    section, state = page  # noqa: F811
    release(tmp_path / "allowed" / "a.pt")
    release(tmp_path / "allowed" / "b.pt")
    import app.adding as adding

    take, go = adding.take, []

    def slowly(*given, say, **more):
        say("Reading a.pt (0.1 GB).")
        while not go:
            time.sleep(0.01)
        return take(*given, say=say, **more)

    monkeypatch.setattr(adding, "take", slowly)
    steps = section.on_add(None, "a.pt", "", section.kind.value, section.encoder.value)
    assert any(each[section.report].startswith("Reading") for each, _ in zip(steps, range(200), strict=False))
    with pytest.raises(InputError, match="a is being added just now"):
        state.additions.path("b.pt")
    steps.close()  # the page is gone
    go.append(1)
    limit = time.monotonic() + 120
    while state.additions.last.busy and time.monotonic() < limit:
        time.sleep(0.01)
    assert "a" in state.networks()


@pytest.mark.parametrize(
    "flag, says", [("--networks-from", "wants a folder"), ("--autoencoder", "no folder of an autoencoder")]
)
def test_a_wrong_folder_ends_the_start_with_a_sentence(flag, says, tmp_path, capsys):
    from app.__main__ import main

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    assert main([flag, str(tmp_path / "gone"), "--port", port]) == 2 and says in capsys.readouterr().err

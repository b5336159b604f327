"""What several test modules use: small models, small data, and the real data where it is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import CycleGAN, patch_discriminator, resnet_generator

SIZE = 16


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, whatever ran before it."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def make_model():
    """Makes a model of a few thousand weights for pictures of 16 px."""

    def make(precision="float32", *, pool_size=3, blocks=1, discriminator=None, **generator):
        def network(name):
            if name in ("G", "F"):
                return resnet_generator(
                    SIZE, filters=4, blocks=blocks, dtype=precision, name=name, **generator
                )
            settings = {"filters": 4, "layers": 1, **(discriminator or {})}
            return patch_discriminator(SIZE, dtype=precision, name=name, **settings)

        names = ("G", "F", "D_A", "D_B")
        return CycleGAN(*map(network, names), image_size=SIZE, pool_size=pool_size, seed=7)

    return make


@pytest.fixture(scope="session")
def pairs():
    """Four batches of two random pictures of each domain, always the same."""
    random = np.random.default_rng(1)
    images = random.uniform(-1, 1, (2, 8, SIZE, SIZE, 3)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((images[0], images[1])).batch(2, drop_remainder=True)


def draw_folder(folder):
    """A data set in a folder: 5 pictures in trainA, 3 in trainB, 2 in each test split."""

    def draw(split, index, size=(24, 20)):
        path = folder / split / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng([len(split), ord(split[-1]), index])
        pixels = values.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    for split, count in (("trainA", 5), ("trainB", 3), ("testA", 2), ("testB", 2)):
        for index in range(count):
            draw(split, index)
    return folder


@pytest.fixture
def folder(tmp_path):
    """See `draw_folder`."""
    return draw_folder(tmp_path / "data")


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    """The same for fixtures that several tests of a module share."""
    return draw_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """Unpacks a zip of tests/golden."""

    def unpack(name):
        folder = tmp_path_factory.mktemp(name.removesuffix(".zip"))
        with zipfile.ZipFile(Path(__file__).parent / "golden" / name) as archive:
            archive.extractall(folder)
        return folder

    return unpack


@pytest.fixture(scope="session")
def pytorch_models(unpacked):
    """The files that golden/pytorch_models.py made; `outputs.npz` is what their networks draw."""
    return unpacked("pytorch_models.zip")


@pytest.fixture(scope="session")
def pytorch_outputs(pytorch_models):
    """The outputs of `pytorch_models` by their files, and the `images` they are for."""
    with np.load(pytorch_models / "outputs.npz") as file:
        return dict(file)


@pytest.fixture
def s3(monkeypatch):
    """A client of an S3 server on this machine with an empty bucket `pictures`.

    fsspec finds the server by the environment, and so do the processes that a test starts.
    """
    import boto3
    import fsspec
    import s3fs
    from botocore.config import Config
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        # A server that does not answer fails the test within a minute.
        limits = {"connect_timeout": 20, "read_timeout": 20, "retries": {"max_attempts": 1}}
        monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": limits})
        client = boto3.client("s3", config=Config(**limits))
        client.create_bucket(Bucket="pictures")
        yield client
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def real_data():
    """The folder of real data sets named by TFCYCLEGAN_DATA; skips where there is none."""
    folder = os.environ.get("TFCYCLEGAN_DATA")
    if not folder or not (Path(folder) / "horse2zebra").is_dir():
        pytest.skip("TFCYCLEGAN_DATA does not name a folder with horse2zebra in it")
    return Path(folder)


@pytest.fixture
def run_python():
    """Runs Python code in a fresh process and gives its output; fails with its errors."""

    def run(code, *arguments, **settings):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=Path(__file__).parents[1],
            **settings,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def networks():
    """See `serving.make_networks`."""
    import serving

    return serving.make_networks()


@pytest.fixture(scope="session")
def exports(networks, tmp_path_factory):
    """The folder of the exports `tiny` and `small`; see `serving.write_exports`."""
    import serving

    return serving.write_exports(networks, tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def expected(networks):
    """Translates a picture with a model's Keras generator."""
    from tfcyclegan.runtimes.keras_model import KerasRuntime

    runtimes = {name: KerasRuntime(network, name) for name, network in networks.items()}
    return lambda pixels, model="tiny_AtoB": runtimes[model](pixels)


@pytest.fixture(scope="session")
def picture():
    import serving

    return serving.draw(37, 50)


@pytest.fixture(scope="session")
def running(exports, tmp_path_factory):
    """One model server for all tests."""
    import serving

    server = serving.Running(
        [exports / name / "serving" for name in ("tiny", "small")],
        tmp_path_factory.mktemp("log") / "stderr",
    )
    try:
        yield server.ready()
    finally:
        server.stop()


@pytest.fixture
def server(running, picture, expected):
    """The server, which must still translate after every test."""
    import serving

    yield running
    answer = running.send_file(serving.encode(picture, "PNG"))
    assert serving.same(serving.from_json(answer), expected(picture))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder and the report of an export of two tiny generators; see `tiny_exports.export`."""
    import tiny_exports

    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("exports") / "my horses"
    return directory, tiny_exports.export(directory)


@pytest.fixture(scope="session")
def forms(tmp_path_factory):
    """The folder of one model in every form of file; see `translating.write_forms`."""
    import translating

    return translating.write_forms(tmp_path_factory.mktemp("forms"))

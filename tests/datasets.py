"""Small data sets for tests, and what tests do with data sets."""

import contextlib
import functools
import http.server
import io
import threading
import zipfile

import numpy as np
import pytest

from tfcyclegan import InputError, load_data


def epoch(data, batches=None):
    """The next epoch, or its first batches, as arrays."""
    train = data.train if batches is None else data.train.take(batches)
    return [(a.numpy(), b.numpy()) for a, b in train]


def equal(one, other):
    """Whether two lists of `(A, B)` batches are equal."""
    return len(one) == len(other) and all(
        np.array_equal(a, c) and np.array_equal(b, d)
        for (a, b), (c, d) in zip(one, other, strict=True)
    )


def encoded(image, **settings):
    buffer = io.BytesIO()
    image.save(buffer, **settings)
    return buffer.getvalue()


def zip_of(folder, path, root=""):
    """Zips the pictures of a folder below `root`."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"{root}{file.relative_to(folder).as_posix()}")
    return path


def refused(message, source, **settings):
    """Checks that `load_data` raises a one-line `InputError` that matches `message`."""
    with pytest.raises(InputError, match=message) as caught:
        load_data(source, **{"image_size": 16, **settings})
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def served(folder):
    """Serves the files of a folder over HTTP and yields the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()

"""Versions that come, go and break while requests run; configs that change; labels; warm-up."""

from __future__ import annotations

import gc
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2
from tiny_model import Gate, ask, write_model

from tf_fenrec.errors import InputError
from tf_fenrec.serving.runtime import Servable
from tf_fenrec.serving.server import Server
from tf_fenrec.serving.versions import choose_versions, find_versions, model_directories

Code = grpc.StatusCode
State = get_model_status_pb2.ModelVersionStatus


class Asked:
    """A server and stubs that ask it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict

    def number(self, model: str = "tiny", **version) -> int:
        [number] = tf.make_ndarray(self._predict(ask(model, [1], **version), timeout=20).outputs["number"])
        return number

    def states(self, model: str = "tiny") -> dict[int, tuple[int, int]]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        answer = self.models.GetModelStatus(request, timeout=10)
        return {status.version: (status.state, status.status.error_code) for status in answer.model_version_status}

    def reload(self, text: str):
        return self.models.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(config=config(text)), timeout=20
        )


def config(text: str):
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def entry(name: str, path, more: str = 'model_platform: "tensorflow"') -> str:
    return f'config {{ name: "{name}" base_path: "{path}" {more} }}'


def models(*entries: str) -> str:
    return f"model_config_list {{ {' '.join(entries)} }}"


def one_model(path, more: str = "") -> str:
    return models(entry("tiny", path, f'model_platform: "tensorflow" {more}'))


@contextmanager
def serving(source, **options):
    with Server(source, port=0, poll_seconds=0, **options) as server:
        asked = Asked(server)
        yield asked
        asked.channel.close()


@pytest.fixture
def tiny(tmp_path):
    """The directory of a model with version 1."""
    directory = tmp_path / "tiny"
    write_model(directory, 1)
    return directory


def test_which_directories_are_versions(tmp_path):
    for name in (
        "m/2",
        "m/10",
        "m/007",
        "m/.tmp-11-x",
        "m/12-old",
        "m/latest",
        "m/-3",
        "m/٤",
        "m/" + "9" * 20,
        "other",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "m/14").touch()
    (tmp_path / "file").touch()
    assert find_versions(tmp_path / "m") == {
        number: tmp_path / "m" / name for number, name in ((2, "2"), (10, "10"), (7, "007"))
    }
    assert model_directories(tmp_path) == {"m": tmp_path / "m"}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", {9}),
        ("latest { }", {9}),
        ("latest { num_versions: 2 }", {5, 9}),
        ("latest { num_versions: 9 }", {2, 5, 9}),
        ("all { }", {2, 5, 9}),
        ("specific { versions: 2 versions: 5 versions: 77 }", {2, 5}),
    ],
)
def test_version_policies(policy, chosen):
    model = text_format.Parse(f"model_version_policy {{ {policy} }}", model_server_config_pb2.ModelConfig())
    assert choose_versions([9, 2, 5], model.model_version_policy) == chosen


def test_swaps_under_load_fail_no_request(tiny, tmp_path):
    with Server(tmp_path, port=0, poll_seconds=0.02) as server:
        stopping = threading.Event()

        def load() -> list[int]:
            asked = Asked(server)
            seen = []
            while not stopping.is_set():
                seen.append(asked.number())
            seen.append(asked.number())  # made when 7 had answered; the one before may have been on its way with 6
            asked.channel.close()
            return seen

        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load) for _ in range(4)]
            watcher = Asked(server)
            for number in range(2, 8):
                path = write_model(tiny, number)
                (tiny / f".tmp-{number + 1}-killed").mkdir()  # an export that was killed
                (tiny / f".tmp-{number + 1}-killed" / "saved_model.pb").write_bytes(b"half")
                while watcher.number() != number:
                    pass
                assert path.exists()
            stopping.set()
            seen = [future.result() for future in loads]  # an error of any request is raised here
        assert watcher.states()[7] == (State.AVAILABLE, 0)
        assert watcher.states()[1] == (State.END, 0)
        watcher.channel.close()
    for numbers in seen:
        assert numbers == sorted(numbers)  # never back to an old version
        assert numbers[-1] == 7


def test_an_old_version_stays_until_its_last_request_has_ended(tmp_path):
    gate = Gate()
    write_model(tmp_path / "tiny", 1, gate)
    with serving(tmp_path) as asked, ThreadPoolExecutor(2) as pool:
        held = pool.submit(asked.number)
        assert gate.entered.acquire(timeout=20)
        # When a new version comes while a request runs on the old one
        write_model(tmp_path / "tiny", 2)
        swap = pool.submit(asked.server.poll)
        while asked.states()[1][0] != State.UNLOADING:
            pass
        # Then the new one answers at once, and the old one isn't gone
        assert asked.number() == 2
        assert not swap.done()
        gate.open.set()
        assert held.result(20) == 1
        swap.result(20)
        assert asked.states() == {1: (State.END, 0), 2: (State.AVAILABLE, 0)}


def _no_saved_model(path):
    (path / "saved_model.pb").unlink()


def _junk_saved_model(path):
    (path / "saved_model.pb").write_bytes(b"junk" * 10)


def _half_saved_model(path):
    data = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(data[: len(data) // 2])


def _no_variables(path):
    shutil.rmtree(path / "variables")


def _empty_variables(path):
    [data] = (path / "variables").glob("*data*")
    data.write_bytes(b"")


def _broken_warmup(path):
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"junk" * 10)


@pytest.mark.parametrize(
    "damage", [_no_saved_model, _junk_saved_model, _half_saved_model, _no_variables, _empty_variables, _broken_warmup]
)
def test_a_broken_version_is_reported_and_the_old_one_stays(tiny, tmp_path, damage):
    whole = write_model(tmp_path / "beside", 2, warm_up=1)
    with serving(tmp_path) as asked:
        shutil.copytree(whole, tiny / "2")
        damage(tiny / "2")
        asked.server.poll()
        state, code = asked.states()[2]
        assert state == State.END
        assert code != 0
        assert asked.states()[1] == (State.AVAILABLE, 0)
        assert asked.number() == 1
        # When the copy goes on until it is whole, it is tried again
        shutil.copytree(whole, tiny / "2", dirs_exist_ok=True)
        asked.server.poll()
        assert asked.number() == 2
        assert asked.states() == {1: (State.END, 0), 2: (State.AVAILABLE, 0)}


def test_a_version_that_is_removed_gives_way_to_the_one_before(tiny, tmp_path):
    write_model(tiny, 2)
    with serving(tmp_path) as asked:
        assert asked.server.versions == {"tiny": 2}
        (tiny / "2").rename(tmp_path / "gone")
        asked.server.poll()
        assert asked.number() == 1


def test_a_directory_that_is_away_changes_nothing(tiny, tmp_path):
    with serving(config(one_model(tiny))) as asked:
        tiny.rename(tmp_path / "away")
        asked.server.poll()
        assert asked.number() == 1
        tiny.mkdir()  # but an empty one means that nothing is to be served
        asked.server.poll()
        assert asked.server.versions == {}


def test_models_come_and_go(tiny, tmp_path):
    with serving(tmp_path) as asked:
        write_model(tmp_path / "other", 5)
        asked.server.poll()
        assert asked.server.versions == {"tiny": 1, "other": 5}
        assert asked.number("other") == 5


def test_reload_serves_another_config(tiny, tmp_path):
    write_model(tiny, 2)
    write_model(tmp_path / "other", 5)
    with serving(config(one_model(tiny, "model_version_policy { all { } }"))) as asked:
        assert asked.number(version=1) == 1
        assert asked.number(version=2) == 2
        assert asked.number() == 2
        response = asked.reload(models(entry("other", tmp_path / "other")))
        assert response.status.error_code == 0
        assert asked.number("other") == 5
        with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(tiny\)"):
            asked.number()
        assert asked.states() == {1: (State.END, 0), 2: (State.END, 0)}
        asked.reload(models())
        assert asked.server.versions == {}
        # A model that comes back is loaded again, or the caller is told why not
        tiny.rename(tmp_path / "away")
        with pytest.raises(grpc.RpcError, match="tiny: no versions found"):
            asked.reload(one_model(tiny))
        (tmp_path / "away").rename(tiny)
        asked.server.poll()
        assert asked.number() == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.INVALID_ARGUMENT),
        ("custom_model_config { }", Code.INVALID_ARGUMENT),
        (models(entry("a", "here")), Code.INVALID_ARGUMENT),
        (models(entry("a", "/a", "")), Code.INVALID_ARGUMENT),
        (models(entry("a", "/a", 'model_platform: "onnx"')), Code.INVALID_ARGUMENT),
        (models(entry("a", "/a"), entry("a", "/b")), Code.INVALID_ARGUMENT),
        (models(entry("a", "/nowhere")), Code.UNKNOWN),
    ],
)
def test_configs_that_are_refused(tiny, text, code):
    with serving(config(one_model(tiny))) as asked:
        with pytest.raises(grpc.RpcError) as caught:
            asked.reload(text)
        assert caught.value.code() == code
        if code == Code.INVALID_ARGUMENT:
            assert asked.number() == 1


def test_labels_follow_the_rules_of_the_official_server(tiny):
    write_model(tiny, 2)
    both = "model_version_policy { all { } }"
    stable = 'version_labels { key: "stable" value: 1 }'
    with pytest.raises(InputError, match="label to version 1 of model tiny, which is not currently available"):
        Server(config(one_model(tiny, both + stable)), port=0)
    with serving(config(one_model(tiny, both + stable)), allow_labels=True) as asked:
        assert asked.number(label="stable") == 1
        with pytest.raises(grpc.RpcError) as caught:
            asked.number(label="canary")
        assert caught.value.code() == Code.INVALID_ARGUMENT
        assert caught.value.details() == "Unrecognized servable version label: canary"
        # A label moves to a version that is served, and to no other
        asked.reload(one_model(tiny, both + 'version_labels { key: "stable" value: 2 }'))
        assert asked.number(label="stable") == 2
        with pytest.raises(grpc.RpcError) as caught:
            asked.reload(one_model(tiny, both + 'version_labels { key: "stable" value: 3 }'))
        assert caught.value.code() == Code.FAILED_PRECONDITION
        assert asked.number(label="stable") == 2
    with serving(config(one_model(tiny, both))) as asked:
        asked.reload(one_model(tiny, both + stable))
        assert asked.number(label="stable") == 1


def test_warm_up_runs_before_a_version_is_available(tmp_path):
    gate = Gate()
    path = write_model(tmp_path / "tiny", 1, gate, warm_up=3)
    gate.open.set()
    with serving(tmp_path):
        for _ in range(3):
            assert gate.entered.acquire(blocking=False)
        assert not gate.entered.acquire(blocking=False)
    servable = Servable(path)
    assert servable.warm_up() == 3
    servable.close()


def test_too_many_warm_up_requests_are_refused(tmp_path):
    path = write_model(tmp_path, 1, warm_up=1)
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(1001 * file.read_bytes())
    with pytest.raises(InputError, match="at most 1000 requests"):
        Servable(path).warm_up()


def test_models_that_cannot_be_served(tmp_path):
    with pytest.raises(InputError, match="should hold exported models"):
        Server(tmp_path, port=0)
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/1/saved_model.pb").write_bytes(b"junk" * 10)
    with pytest.raises(InputError, match="not a SavedModel that can be loaded"):
        Server(tmp_path, port=0)
    with pytest.raises(InputError, match="no versions found"):
        Server(config(one_model(tmp_path)), port=0)


@pytest.fixture
def few_objects():
    """What there is so far is not looked at by the garbage collector: it then takes milliseconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_swaps_leave_nothing_behind(tiny, tmp_path, few_objects):
    def alive() -> list[int]:
        found = gc.get_objects()
        return [sum(isinstance(each, kind) for each in found) for kind in (tf.Graph, tf.compat.v1.Session, Servable)]

    with serving(tmp_path) as asked:
        asked.number()
        gc.collect()
        before = alive()
        assert before[2] == 1
        for number in range(2, 12):
            (tiny / str(number - 1)).rename(tiny / str(number))
            asked.server.poll()
            assert asked.number() == 1  # what it holds
        assert asked.server.versions == {"tiny": 11}
        assert alive() == before

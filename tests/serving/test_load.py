"""The open-loop load generator, against a server of sums and loops."""

from __future__ import annotations

import json
import threading

import grpc
import numpy as np
import pytest
from fake_service import FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from tf_fenrec.cli.load import main
from tf_fenrec.errors import InputError
from tf_fenrec.serving.load import Kind, Load

OK = grpc.StatusCode.OK
MIX = (Kind("recommend", 2, 3.0), Kind("score", 3), Kind("embed"))


@pytest.fixture(scope="module")
def fake():
    with FakeServer() as server:
        yield server


@pytest.fixture
def load(fake):
    with Load(fake.address, "shop", MIX) as load:
        yield load


def test_all_requests_are_answered_and_counted(load, fake):
    fake.service.requests.clear()
    result = load.run(rate=300, seconds=0.5)
    assert result["sent"] == result["answered"] == len(fake.service.requests)
    assert result["errors"] == {}
    assert sum(kind["count"] for kind in result["kinds"].values()) == result["sent"]
    for kind in MIX:
        rows = [
            request.inputs["history"].tensor_shape.dim[0].size
            for request in fake.service.requests
            if request.model_spec.signature_name == kind.signature
        ]
        assert set(rows) == {kind.rows}
        assert len(rows) == result["kinds"][str(kind)]["count"]


def test_requests_go_out_and_age_while_nothing_is_answered(load, fake):
    # Given a server that answers nothing for twice the time of the load
    fake.service.held.clear()
    timer = threading.Timer(0.6, fake.service.held.set)
    timer.start()
    # When requests arrive in the first half of it
    result = load.run(rate=200, seconds=0.3)
    timer.join()
    # Then every one has waited for the other half: none waited for another one's answer before it began to count
    assert result["answered"] == result["sent"] > 20
    assert result["latency_ms"]["p50"] > 250
    assert result["latency_ms"]["max"] > 500


def test_a_load_can_be_ended(load, fake):
    enough = threading.Event()
    fake.service.arrived.clear()
    results = []
    thread = threading.Thread(target=lambda: results.append(load.run(100, 3600, enough=enough)))
    thread.start()
    assert fake.service.arrived.wait(20)
    enough.set()
    thread.join(timeout=20)
    [result] = results
    assert result["sent"] == result["answered"] == sum(kind["count"] for kind in result["kinds"].values()) > 0


def test_errors_are_counted_by_their_code(load, fake):
    fake.service.failures += [grpc.StatusCode.UNAVAILABLE] * 2 + [grpc.StatusCode.INVALID_ARGUMENT]
    result = load.run(rate=200, seconds=0.3)
    assert result["errors"] == {"INVALID_ARGUMENT": 1, "UNAVAILABLE": 2}
    assert result["answered"] == result["sent"] - 3 == result["latency_ms"]["count"]


def test_unavailable_requests_are_made_again_if_asked_for(fake):
    with Load(fake.address, "shop", attempts=5) as load:
        fake.service.failures += [grpc.StatusCode.UNAVAILABLE] * 3
        assert load.run(rate=100, seconds=0.2)["errors"] == {}


def planned(load, monkeypatch, **arguments) -> tuple[np.ndarray, list[bytes]]:
    """The starts and requests of a run."""
    plan = {}

    def send(starts, bodies, enough):
        plan["starts"], plan["bodies"] = starts, bodies
        return np.zeros(len(starts)), [OK] * len(starts), 0.0, 1.0

    monkeypatch.setattr(load, "_send", send)
    load.run(**arguments)
    return plan["starts"], plan["bodies"]


def test_arrivals_are_a_poisson_process_of_the_rate_and_the_mix(load, monkeypatch):
    starts, bodies = planned(load, monkeypatch, rate=1000, seconds=20)
    gaps = np.diff(starts)
    assert (gaps >= 0).all()
    assert starts[-1] < 20
    # Of an exponential distribution mean and standard deviation are 1 / rate; 5 standard errors of either.
    assert gaps.mean() == pytest.approx(1e-3, rel=5 / len(gaps) ** 0.5)
    assert gaps.std() == pytest.approx(1e-3, rel=10 / len(gaps) ** 0.5)
    requests = [predict_pb2.PredictRequest.FromString(body).model_spec.signature_name for body in bodies[:5000]]
    assert requests.count("recommend") / 5000 == pytest.approx(0.6, abs=0.035)


def test_the_seed_decides_and_the_number_of_requests_is_bounded(fake, monkeypatch):
    plans = []
    for seed in (3, 3, 4):
        with Load(fake.address, "shop", MIX, seed) as load:
            plans.append(planned(load, monkeypatch, rate=100, seconds=100, max_requests=50))
    (first, bodies), (again, same), (other, _) = plans
    np.testing.assert_array_equal(first, again)
    assert bodies == same
    assert len(first) == len(bodies) == 50
    assert not np.array_equal(first, other)


@settings(max_examples=30)
@given(capacity=st.floats(0.5, 5000))
def test_saturation_is_found_from_either_side(capacity):
    # Given a server that answers `capacity` requests a second and queues the others
    load = object.__new__(Load)
    steps = []

    def run(rate, seconds, max_requests):
        steps.append(rate)
        return {"errors": {}, "seconds": seconds * max(1, rate / capacity)}

    load.run = run
    # When the rate is searched at which the answers come at most 5 % late
    rate = load.saturation()
    # Then it is that rate, to a sixteenth of the octave
    assert rate <= capacity / 0.95 <= rate * (1 + 1 / 16) * 1.0001
    assert len(steps) < 20


def test_a_server_that_only_fails_has_no_saturation():
    load = object.__new__(Load)
    load.run = lambda *_, **__: {"errors": {"UNAVAILABLE": 1}, "seconds": 0.1}
    with pytest.raises(InputError, match="`target` should answer at least one request"):
        load.saturation()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("recommend", Kind("recommend", 1, 1.0)),
        (" score:32=0.5", Kind("score", 32, 0.5)),
        ("embed=2", Kind("embed", 1, 2.0)),
    ],
)
def test_kinds(text, kind):
    assert Kind.parse(text) == kind


@pytest.mark.parametrize("text", ["", "nope", "recommend:x", "recommend:0", "recommend=0", "recommend=inf", "embed=-1"])
def test_what_is_no_kind(text):
    with pytest.raises(InputError, match="`mix` should"):
        Kind.parse(text)


@pytest.mark.parametrize("address", ["192.0.2.1:8500", "[2001:db8::1]:8500"])
def test_other_machines_are_left_alone(address):
    with pytest.raises(InputError, match="`target` should be this machine unless other ones are allowed"):
        Load(address)


def test_a_remote_server_may_be_allowed():
    with pytest.raises(grpc.RpcError):  # nothing listens there, but it is asked
        Load("127.0.0.1:1", allow_remote=True, timeout=0.5)


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": 1, "seconds": 0}, {"rate": 1, "max_requests": 0}])
def test_bounds_of_a_run(load, wrong):
    with pytest.raises(InputError, match="should be positive"):
        load.run(**wrong)


def test_the_command(fake, capsys):
    arguments = ["--server", fake.address, "--model", "shop", "--seconds", "0.2"]
    assert main([*arguments, "--rate", "100", "--mix", "recommend:2=2,score"]) == 0
    summary, header, everything, *kinds = capsys.readouterr().out.splitlines()
    assert "answered, no errors" in summary
    assert header.split() == ["ms", "requests", "p50", "p95", "p99", "max"]
    assert int(everything.split()[1]) == sum(int(kind.split()[1]) for kind in kinds)

    fake.service.failures += [
        None,
        None,
        grpc.StatusCode.INTERNAL,
    ]  # first the items are asked for, and one request is tried
    assert main([*arguments, "--rate", "100", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == {"INTERNAL": 1}


def test_saturate_takes_no_number_of_requests(fake, capsys):
    assert main(["--server", fake.address, "--model", "shop", "--saturate", "--requests", "5"]) == 2
    assert "`--requests` can't be given with --saturate. Received: 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nope"], "NOT_FOUND"),
        (["--server", "127.0.0.1:1", "--timeout", "1"], "127.0.0.1:1: "),
        (["--server", "no-such-host.invalid:1"], "`target` should be a known host"),
        (["--server", "192.0.2.1:8500"], "`target` should be this machine"),
        (["--rate", "0"], "`rate`, `seconds` and `max_requests` should be positive"),
        (["--seconds", "0"], "`rate`, `seconds` and `max_requests` should be positive"),
        (["--timeout", "0"], "`--timeout` should be positive"),
        (["--tls-name", "a"], "`--tls-root` should be given"),
        (["--tls-root", "none.pem"], "none.pem: No such file"),
    ],
)
def test_errors_of_the_command_are_one_line(fake, capsys, arguments, message):
    given = {"--server": fake.address, "--model": "shop", "--rate": "10"}
    given.update(zip(arguments[::2], arguments[1::2], strict=True))
    assert main([word for pair in given.items() for word in pair]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1

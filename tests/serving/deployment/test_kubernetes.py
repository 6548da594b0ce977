"""The Kubernetes files: their schemas, and that they agree with each other and the image."""

from __future__ import annotations

import itertools
import re
import urllib.error

import kubernetes_validate
import pytest
from deployment_files import CONFIG, MODEL, ROOT, SERVING, fetched, files_of, flags, instructions, parsed, versions_of

KUBERNETES = sorted((SERVING / "kubernetes").rglob("*.yaml"))
DEPLOYMENTS = ["mounted", "baked"]


def kubernetes(path: str, everything: bool = False) -> dict[str, dict]:
    """The documents of serving/kubernetes/`path` by kind and name."""
    documents = versions_of(SERVING / "kubernetes" / path)[everything]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


def deployment(kind: str, everything: bool = False) -> tuple[dict, dict, dict]:
    """The Deployment, its pod's spec and its container."""
    [found] = kubernetes(f"{kind}/deployment.yaml", everything).values()
    pod = found["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return found, pod, container


@pytest.mark.parametrize("version", ["1.29", "1.34"])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_kubernetes_schema(path, version):
    for document in itertools.chain(*versions_of(path)):
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_schema_finds_a_misspelled_field():
    found, _, container = deployment("mounted")
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, "1.34", strict=True)


@pytest.mark.parametrize("kind", DEPLOYMENTS)
class TestDeployment:
    def test_flags(self, kind):
        plain, everything = (flags(deployment(kind, how)[2]["args"]) for how in (False, True))
        assert everything.keys() - plain.keys() == {"enable_batching", "batching_parameters_file", "ssl_config_file"}
        own = {"models.config"} if kind == "mounted" else set()
        assert files_of(everything) == {"monitoring.config", "batching.config", "ssl.config"} | own

    def test_image(self, kind):
        image = deployment(kind)[2]["image"]
        built = re.search(r"--target baked .*-t (\S+)", (ROOT / "Dockerfile.serving").read_text())[1]
        assert image == (instructions("FROM")[0].split()[0] if kind == "mounted" else built)

    def test_what_selects_it(self, kind):
        found, _, container = deployment(kind)
        labels = found["spec"]["template"]["metadata"]["labels"]
        services = kubernetes("service.yaml").values()
        for selector in (
            found["spec"]["selector"]["matchLabels"],
            *(service["spec"]["selector"] for service in services),
            kubernetes("disruption.yaml")[f"PodDisruptionBudget/{MODEL}"]["spec"]["selector"]["matchLabels"],
        ):
            assert selector.items() <= labels.items()
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert sorted(map(str, ports.values())) == sorted(instructions("EXPOSE")[0].split())
        for service in services:
            assert all(ports[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])

    def test_scaling(self, kind):
        found, _, _ = deployment(kind)
        scaler = kubernetes("autoscaler.yaml")[f"HorizontalPodAutoscaler/{MODEL}"]["spec"]
        target = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": found["metadata"]["name"]}
        assert scaler["scaleTargetRef"] == target
        assert "replicas" not in found["spec"]  # the autoscaler's
        least = kubernetes("disruption.yaml")[f"PodDisruptionBudget/{MODEL}"]["spec"]["minAvailable"]
        assert scaler["minReplicas"] > least

    @pytest.mark.parametrize("everything", [False, True])
    def test_volumes(self, kind, everything):
        _, pod, container = deployment(kind, everything)
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert mounts.keys() == volumes.keys()
        assert ("tls" in mounts) == everything
        if kind == "mounted":
            assert (mounts["models"], mounts["config"]) == ("/models", "/etc/fenrec")
            [claim] = kubernetes("mounted/volume.yaml").values()
            assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]

    def test_update_without_a_gap(self, kind):
        found, pod, container = deployment(kind)
        assert found["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        lifetime = sum(int(number) for number in re.findall(r"_ms=(\d+)", " ".join(container["args"]))) / 1000
        waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        # gRPC spreads the age of connections by a tenth.
        assert 1.1 * lifetime <= waits < pod["terminationGracePeriodSeconds"]

    def test_least_rights(self, kind):
        _, pod, container = deployment(kind)
        user, group = instructions("USER")[-1].split(":")
        assert pod["securityContext"]["runAsNonRoot"]
        assert str(pod["securityContext"]["runAsUser"]) == user
        assert str(pod["securityContext"]["runAsGroup"]) == group
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_threads_are_the_cpus(self, kind):
        container = deployment(kind)[2]
        given = flags(container["args"])
        cpus = container["resources"]["requests"]["cpu"]
        assert given["tensorflow_intra_op_parallelism"] == given["tensorflow_inter_op_parallelism"] == cpus
        batching = parsed("BatchingParameters", CONFIG / "batching.config")
        assert str(batching.num_batch_threads.value) == cpus

    def test_scraping(self, kind, metrics_path):
        found, _, container = deployment(kind)
        annotations = found["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/path"] == metrics_path
        http = {port["name"]: port["containerPort"] for port in container["ports"]}["http"]
        assert annotations["prometheus.io/port"] == str(http)

    def test_probes(self, kind):
        container = deployment(kind)[2]
        paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
        label = "/labels/stable" if kind == "mounted" else ""
        assert paths == {
            "startupProbe": f"/v1/models/{MODEL}",
            "livenessProbe": f"/v1/models/{MODEL}",
            "readinessProbe": f"/v1/models/{MODEL}{label}/metadata",
        }

    def test_ready_while_the_version_is_served(self, kind, server):
        path = deployment(kind)[2]["readinessProbe"]["httpGet"]["path"]
        assert fetched(server, path)
        for absent in (path.replace(MODEL, "other"), path.replace("stable", "other")):
            if absent != path:
                with pytest.raises(urllib.error.HTTPError):
                    fetched(server, absent)


def test_the_two_deployments_differ_in_what_they_must():
    mounted, baked = (deployment(kind, True)[0] for kind in DEPLOYMENTS)
    for found in (mounted, baked):
        pod = found["spec"]["template"]["spec"]
        [container] = pod["containers"]
        container["args"] = [argument for argument in container["args"] if "model_config" not in argument]
        container["args"] = [argument for argument in container["args"] if "version_labels" not in argument]
        container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] in ("tmp", "tls")]
        pod["volumes"] = [one for one in pod["volumes"] if one["name"] in ("tmp", "tls")]
        del container["image"], container["readinessProbe"]["httpGet"]["path"]
    assert mounted == baked

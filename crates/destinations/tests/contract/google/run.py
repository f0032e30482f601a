"""Secret Manager's REST API as Google's own description of it has it.

Paths, members, types and the JSON form are judged by others: Envoy's gRPC-JSON transcoder takes requests
apart by Google's published protocol buffers and their HTTP rules. A path or a query they do not know is
refused; a member of a body they do not know is lost, which the trials notice. Behind it stands a small
service in memory, which answers with gRPC's own statuses. Errors have the transcoder's form, a bare
{"code", "message"}.

    python run.py PORT PROTOS            PROTOS: a node_modules with @google-cloud/secret-manager
    python run.py PORT PROTOS BACKEND    the same in front of another gRPC service, at this port
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent import futures

import grpc
import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

SERVICE = "google/cloud/secretmanager/v1/service.proto"


def compile_protos(node_modules: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The descriptors for Envoy, and Python classes for the service."""
    includes = [
        pathlib.Path(grpc_tools.__file__).parent / "_proto",
        node_modules / "@google-cloud/secret-manager/build/protos",
        node_modules / "google-gax/build/protos",
    ]
    descriptors = out / "descriptors.pb"
    common = ["protoc", *(f"-I{path}" for path in includes)]
    whole = [*common, "--include_imports", f"--descriptor_set_out={descriptors}", SERVICE]
    if protoc.main(whole) != 0:
        sys.exit("the protocol buffers cannot be compiled")
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
    # All but what comes with protobuf itself.
    names = [file.name for file in files if not file.name.startswith("google/protobuf/")]
    if protoc.main([*common, f"--python_out={out}", f"--grpc_python_out={out}", *names]) != 0:
        sys.exit("the protocol buffers cannot be compiled to Python")
    sys.path.insert(0, str(out))
    return descriptors


def envoy_config(port: int, backend: int, descriptors: pathlib.Path) -> dict:
    def typed(kind: str, **members):
        return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **members}

    transcoder = typed(
        "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(descriptors),
        services=["google.cloud.secretmanager.v1.SecretManagerService"],
        convert_grpc_status=True,
        # What is not in the description is refused, in paths, queries and bodies.
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
        },
    )
    router = typed("filters.http.router.v3.Router")
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="rest",
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "30s"}}],
                }
            ]
        },
        http_filters=[
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoder},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    )
    at = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2 = typed(
        "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": at(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "service",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {
                        "cluster_name": "service",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(backend)}}]}],
                    },
                }
            ],
        }
    }


CASTAGNOLI = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CASTAGNOLI.append(byte)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CASTAGNOLI[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def serve() -> int:
    """Starts the service. The port it is at."""
    from google.cloud.secretmanager.v1 import resources_pb2 as types
    from google.cloud.secretmanager.v1 import service_pb2 as messages
    from google.cloud.secretmanager.v1 import service_pb2_grpc as rpc
    from google.protobuf import empty_pb2

    State = types.SecretVersion.State

    class Secrets(rpc.SecretManagerServiceServicer):
        def __init__(self):
            self.secrets, self.versions, self.values, self.changes = {}, {}, {}, 0

        def touched(self, thing):
            self.changes += 1
            thing.etag = f'"{self.changes:x}"'
            return thing

        def secret(self, name, context):
            if name not in self.secrets:
                context.abort(grpc.StatusCode.NOT_FOUND, f"{name} is not there")
            return self.secrets[name]

        def version(self, name, context):
            if name not in self.versions:
                context.abort(grpc.StatusCode.NOT_FOUND, f"{name} is not there")
            return self.versions[name]

        @staticmethod
        def check_etag(given, thing, context):
            if given and given != thing.etag:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the etag is another")

        @staticmethod
        def check(secret, context):
            key = re.compile(r"[^\W\d_A-Z][\w-]{0,62}")
            value = re.compile(r"[\w-]{0,63}")
            ok = len(secret.labels) <= 64 and all(
                key.fullmatch(k) and value.fullmatch(v) and (k + v).lower() == k + v
                for k, v in secret.labels.items()
            )
            name = re.compile(r"[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
            ok = ok and all(name.fullmatch(k) for k in secret.annotations)
            ok = ok and sum(len(k) + len(v) for k, v in secret.annotations.items()) <= 16384
            if not ok or secret.replication.WhichOneof("replication") is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "labels, annotations or replication")

        def CreateSecret(self, request, context):
            if not re.fullmatch(r"[-_a-zA-Z0-9]{1,255}", request.secret_id):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "secret_id")
            name = f"{request.parent}/secrets/{request.secret_id}"
            if name in self.secrets:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{name} is there")
            self.check(request.secret, context)
            secret = self.secrets[name] = self.touched(types.Secret())
            secret.MergeFrom(request.secret)
            secret.name = name
            secret.create_time.GetCurrentTime()
            return self.touched(secret)

        def GetSecret(self, request, context):
            return self.secret(request.name, context)

        def ListSecrets(self, request, context):
            found = [s for n, s in sorted(self.secrets.items()) if n.startswith(request.parent + "/")]
            if request.filter:
                label, value = re.fullmatch(r"labels\.([\w-]+)=([\w-]*)", request.filter).groups()
                found = [secret for secret in found if secret.labels.get(label) == value]
            return messages.ListSecretsResponse(secrets=found, total_size=len(found))

        def UpdateSecret(self, request, context):
            secret = self.secret(request.secret.name, context)
            self.check_etag(request.secret.etag, secret, context)
            wanted = types.Secret()
            wanted.CopyFrom(secret)
            for path in request.update_mask.paths:
                if path not in ("labels", "annotations", "replication"):
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, path)
                wanted.ClearField(path)
                part = types.Secret()
                part.CopyFrom(request.secret)
                for other, _ in request.secret.ListFields():
                    if other.name != path:
                        part.ClearField(other.name)
                wanted.MergeFrom(part)
            self.check(wanted, context)
            secret.CopyFrom(wanted)
            return self.touched(secret)

        def DeleteSecret(self, request, context):
            self.check_etag(request.etag, self.secret(request.name, context), context)
            del self.secrets[request.name]
            for kept in (self.versions, self.values):
                for name in [n for n in kept if n.startswith(request.name + "/")]:
                    del kept[name]
            return empty_pb2.Empty()

        def of(self, secret):
            versions = [v for n, v in self.versions.items() if n.startswith(secret + "/")]
            return sorted(versions, key=lambda v: -int(v.name.rsplit("/", 1)[1]))

        def AddSecretVersion(self, request, context):
            self.secret(request.parent, context)
            data, payload = request.payload.data, request.payload
            if not 1 <= len(data) <= 65536:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "payload")
            if payload.HasField("data_crc32c") and payload.data_crc32c != crc32c(data):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "checksum")
            version = types.SecretVersion(
                name=f"{request.parent}/versions/{len(self.of(request.parent)) + 1}",
                state=State.ENABLED,
                client_specified_payload_checksum=payload.HasField("data_crc32c"),
            )
            version.create_time.GetCurrentTime()
            self.versions[version.name], self.values[version.name] = version, data
            return self.touched(version)

        def GetSecretVersion(self, request, context):
            return self.version(request.name, context)

        def ListSecretVersions(self, request, context):
            self.secret(request.parent, context)
            found = self.of(request.parent)
            if request.filter == "state:ENABLED":
                found = [version for version in found if version.state == State.ENABLED]
            elif request.filter:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "filter")
            return messages.ListSecretVersionsResponse(versions=found, total_size=len(found))

        def AccessSecretVersion(self, request, context):
            version = self.version(request.name, context)
            if version.state != State.ENABLED:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is not enabled")
            data = self.values[version.name]
            payload = types.SecretPayload(data=data, data_crc32c=crc32c(data))
            return messages.AccessSecretVersionResponse(name=version.name, payload=payload)

        def end(self, request, context, state):
            version = self.version(request.name, context)
            self.check_etag(request.etag, version, context)
            if version.state == State.DESTROYED:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is destroyed")
            version.state = state
            if state == State.DESTROYED:
                self.values[version.name] = b""
                version.destroy_time.GetCurrentTime()
            return self.touched(version)

        def DestroySecretVersion(self, request, context):
            return self.end(request, context, State.DESTROYED)

        def DisableSecretVersion(self, request, context):
            return self.end(request, context, State.DISABLED)

    # One worker: what it does, it does in turn.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    rpc.add_SecretManagerServiceServicer_to_server(Secrets(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # Kept: it ends when it is collected.
    serve.server = server
    return port


def main() -> None:
    port, node_modules = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        descriptors = compile_protos(node_modules, out)
        backend = int(sys.argv[3]) if len(sys.argv) > 3 else serve()
        config = out / "envoy.json"
        config.write_text(json.dumps(envoy_config(port, backend, descriptors)))
        envoy = pathlib.Path(sys.executable).parent / "envoy"
        command = [envoy, "-c", config, "--disable-hot-restart", "-l", "error", "--concurrency", "1"]
        child = subprocess.Popen(command)
        # As with an interrupt: Envoy is ended, and the folder removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while child.poll() is None:
                time.sleep(0.5)
        finally:
            child.kill()
            child.wait()
        sys.exit("Envoy ended")


main()

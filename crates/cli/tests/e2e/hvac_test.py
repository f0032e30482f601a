"""hvac as a client: every KV v2 call, and the sync API through the raw adapter. Run by hvac.rs."""

import json
import os
import time

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

URL = os.environ["KEYFERRY_URL"]
TOKEN = os.environ["KEYFERRY_TOKEN"]


@pytest.fixture
def client():
    return hvac.Client(url=URL, token=TOKEN)


@pytest.fixture
def kv(client):
    return client.secrets.kv.v2


def test_the_server_is_known_to_be_up(client):
    assert client.is_authenticated()
    assert client.sys.is_initialized() and not client.sys.is_sealed()
    assert client.sys.read_health_status(method="GET")["initialized"] is True
    assert client.sys.read_leader_status()["ha_enabled"] is False


def test_write_read_patch(kv):
    assert kv.create_or_update_secret("h/a", {"user": "anna", "n": 12345678901234567})["data"]["version"] == 1
    read = kv.read_secret_version("h/a", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"user": "anna", "n": 12345678901234567}
    assert read["data"]["metadata"]["custom_metadata"] is None
    kv.create_or_update_secret("h/a", {"user": "berta"}, cas=1)
    with pytest.raises(InvalidRequest, match="did not match the current version"):
        kv.create_or_update_secret("h/a", {"user": "x"}, cas=1)
    kv.patch("h/a", {"port": "1"})
    assert kv.read_secret_version("h/a", raise_on_deleted_version=True)["data"]["data"] == {"user": "berta", "port": "1"}
    assert kv.read_secret_version("h/a", version=1, raise_on_deleted_version=True)["data"]["data"]["user"] == "anna"
    with pytest.raises(InvalidPath):
        kv.read_secret_version("h/never", raise_on_deleted_version=True)


def test_delete_undelete_destroy(kv):
    for n in range(3):
        kv.create_or_update_secret("h/b", {"n": n})
    kv.delete_latest_version_of_secret("h/b")
    with pytest.raises(InvalidPath):
        kv.read_secret_version("h/b", raise_on_deleted_version=True)
    gone = kv.read_secret_version("h/b", raise_on_deleted_version=False)
    assert gone["data"]["data"] is None and gone["data"]["metadata"]["deletion_time"] != ""
    kv.undelete_secret_versions("h/b", versions=[3])
    assert kv.read_secret_version("h/b", raise_on_deleted_version=True)["data"]["data"] == {"n": 2}
    kv.delete_secret_versions("h/b", versions=["1", "2"])
    kv.destroy_secret_versions("h/b", versions=[1])
    versions = kv.read_secret_metadata("h/b")["data"]["versions"]
    assert versions["1"]["destroyed"] and not versions["2"]["destroyed"] and versions["2"]["deletion_time"] != ""
    kv.delete_metadata_and_all_versions("h/b")
    with pytest.raises(InvalidPath):
        kv.read_secret_metadata("h/b")


def test_metadata_list_and_configuration(kv, client):
    client.sys.enable_secrets_engine("kv", path="hvac-kv", options={"version": 2})
    kv.configure(max_versions=3, mount_point="hvac-kv", cas_required=False, delete_version_after="768h0m0s")
    configuration = kv.read_configuration(mount_point="hvac-kv")["data"]
    assert configuration["max_versions"] == 3 and configuration["delete_version_after"] == "768h0m0s"
    for n in range(5):
        kv.create_or_update_secret("d/x", {"n": n}, mount_point="hvac-kv")
    kv.create_or_update_secret("d", {"n": 0}, mount_point="hvac-kv")
    assert kv.list_secrets("", mount_point="hvac-kv")["data"]["keys"] == ["d", "d/"]
    assert kv.list_secrets("d", mount_point="hvac-kv")["data"]["keys"] == ["x"]
    with pytest.raises(InvalidPath):
        kv.list_secrets("nothing", mount_point="hvac-kv")
    kv.update_metadata("d/x", mount_point="hvac-kv", max_versions=2, custom_metadata={"a": "b"})
    metadata = kv.read_secret_metadata("d/x", mount_point="hvac-kv")["data"]
    assert metadata["custom_metadata"] == {"a": "b"} and metadata["max_versions"] == 2
    assert metadata["current_version"] == 5 and sorted(metadata["versions"]) == ["3", "4", "5"]
    client.sys.disable_secrets_engine("hvac-kv")
    with pytest.raises((InvalidPath, Forbidden)):
        kv.read_secret_version("d", mount_point="hvac-kv", raise_on_deleted_version=True)


def test_tokens(client, kv):
    kv.create_or_update_secret("h/t", {"k": "v"})
    made = client.auth.token.create(policies=["no-such-policy"], ttl="1h", num_uses=0)
    limited = hvac.Client(url=URL, token=made["auth"]["client_token"])
    with pytest.raises(Forbidden):
        limited.secrets.kv.v2.read_secret_version("h/t", raise_on_deleted_version=True)
    with pytest.raises(Forbidden):
        limited.secrets.kv.v2.create_or_update_secret("h/t", {"k": "w"})
    assert limited.lookup_token()["data"]["policies"] == ["default", "no-such-policy"]
    limited.auth.token.renew_self()
    child = client.auth.token.create(ttl="1h")
    assert child["auth"]["policies"] == ["root"]
    helper = hvac.Client(url=URL, token=child["auth"]["client_token"])
    assert helper.secrets.kv.v2.read_secret_version("h/t", raise_on_deleted_version=True)["data"]["data"]["k"] == "v"
    accessors = client.auth.token.list_accessors()["data"]["keys"]
    assert made["auth"]["accessor"] in accessors and child["auth"]["accessor"] in accessors
    limited.auth.token.revoke_self()
    client.auth.token.revoke_accessor(child["auth"]["accessor"])
    for gone in (limited, helper, hvac.Client(url=URL, token="wrong")):
        with pytest.raises(Forbidden):
            gone.lookup_token()


def test_sync_to_a_file(client, kv, tmp_path):
    target = tmp_path / "delivered.json"
    base = "/v1/sys/sync/destinations/file/from-hvac"
    kv.create_or_update_secret("h/synced", {"password": "one"})
    client.adapter.post(base, json={"path": str(target)})
    assert client.adapter.list("/v1/sys/sync/destinations")["data"]["key_info"]["file"] == ["from-hvac"]
    answer = client.adapter.post(base + "/associations/set", json={"mount": "secret", "secret_name": "h/synced"})
    (entry,) = answer["data"]["associated_secrets"].values()
    assert entry["secret_name"] == "h/synced" and entry["sync_status"] in ("SYNCED", "SYNCING")

    def delivered():
        return [json.loads(text) for text in json.loads(target.read_text()).values()] if target.exists() else []

    def waits_for(seen):
        for _ in range(400):
            if seen():
                return
            time.sleep(0.05)
        raise AssertionError(delivered())

    waits_for(lambda: delivered() == [{"password": "one"}])
    kv.create_or_update_secret("h/synced", {"password": "two"})
    waits_for(lambda: delivered() == [{"password": "two"}])
    status = client.adapter.get(base + "/associations")["data"]["associated_secrets"]
    assert [entry["sync_status"] for entry in status.values()] == ["SYNCED"]
    client.adapter.post(base + "/associations/remove", json={"mount": "secret", "secret_name": "h/synced"})
    waits_for(lambda: not delivered())
    client.adapter.delete(base)

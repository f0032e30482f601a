"""hvac's calls for policies, tokens, auth methods, mounts and wrapping, as its users make them."""

import os

import hvac
import pytest


@pytest.fixture
def client():
    client = hvac.Client(url=os.environ["KEYFERRY_URL"], token=os.environ["KEYFERRY_TOKEN"])
    yield client
    for path in list(client.sys.list_auth_methods()["data"]):
        if path != "token/":
            client.sys.disable_auth_method(path)
    for name in client.sys.list_acl_policies()["data"]["keys"]:
        if name not in ("default", "root"):
            client.sys.delete_acl_policy(name)


POLICY = {"path": {"secret/data/app/*": {"capabilities": ["read", "list"]}}}


def as_token(client, token):
    return hvac.Client(url=client.url, token=token)


def test_policies(client):
    hcl = 'path "secret/data/app/*" { capabilities = ["read"] }'
    client.sys.create_or_update_acl_policy("Reader", hcl)
    assert client.sys.read_acl_policy("reader")["data"]["policy"] == hcl
    client.sys.create_or_update_policy("dict", POLICY)
    assert client.sys.read_policy("dict")["data"]["rules"].startswith("{")
    assert set(client.sys.list_policies()["policies"]) >= {"default", "dict", "reader", "root"}
    assert set(client.sys.list_acl_policies()["data"]["keys"]) >= {"dict", "reader"}
    with pytest.raises(hvac.exceptions.InvalidRequest, match="failed to parse policy"):
        client.sys.create_or_update_acl_policy("bad", 'path "x" { capabilities = ["fly"] }')
    client.sys.delete_policy("dict")
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.sys.read_policy("dict")


def test_a_policy_is_held_to(client):
    client.sys.create_or_update_acl_policy("reader", POLICY)
    client.secrets.kv.v2.create_or_update_secret("app/db", {"p": "1"})
    token = client.auth.token.create(policies=["reader"], ttl="1h")["auth"]["client_token"]
    reader = as_token(client, token)
    assert reader.secrets.kv.v2.read_secret_version("app/db", raise_on_deleted_version=True)["data"]["data"] == {"p": "1"}
    with pytest.raises(hvac.exceptions.Forbidden):
        reader.secrets.kv.v2.create_or_update_secret("app/db", {"p": "2"})
    with pytest.raises(hvac.exceptions.Forbidden):
        reader.secrets.kv.v2.read_secret_version("other", raise_on_deleted_version=True)
    own = reader.sys.get_capabilities(["secret/data/app/db"])
    assert own["data"]["secret/data/app/db"] == ["list", "read"]
    assert client.sys.get_capabilities(["secret/data/app/db"], token=token)["data"]["capabilities"] == ["list", "read"]


def test_tokens(client):
    made = client.auth.token.create(policies=["default"], ttl="1h", meta={"a": "b"}, renewable=True, num_uses=0)["auth"]
    assert made["lease_duration"] == 3600 and made["metadata"] == {"a": "b"}
    token = made["client_token"]
    assert client.auth.token.lookup(token)["data"]["display_name"] == "token-token"
    assert client.auth.token.lookup_accessor(made["accessor"])["data"]["id"] == ""
    assert made["accessor"] in client.auth.token.list_accessors()["data"]["keys"]
    assert client.auth.token.renew(token, increment="10m")["auth"]["lease_duration"] == 600
    own = as_token(client, token)
    assert own.is_authenticated()
    assert own.auth.token.lookup_self()["data"]["accessor"] == made["accessor"]
    own.auth.token.renew_self(increment=60)
    orphan = client.auth.token.create_orphan(policies=["default"])["auth"]
    assert orphan["orphan"] is True
    client.auth.token.revoke_accessor(orphan["accessor"])
    own.auth.token.revoke_self()
    assert not own.is_authenticated()
    with pytest.raises(hvac.exceptions.Forbidden):
        client.auth.token.lookup(token)


def test_token_roles(client):
    client.auth.token.create_or_update_role("ci", allowed_policies="reader", orphan=True, token_period="1h", renewable=True)
    assert client.auth.token.list_roles()["data"]["keys"] == ["ci"]
    role = client.auth.token.read_role("ci")["data"]
    assert role["allowed_policies"] == ["reader"] and role["period"] == 3600
    made = client.auth.token.create(role_name="ci")["auth"]
    assert made["policies"] == ["default", "reader"] and made["orphan"] is True
    client.auth.token.delete_role("ci")
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.auth.token.read_role("ci")


def test_approle(client):
    client.sys.enable_auth_method("approle")
    approle = client.auth.approle
    approle.create_or_update_approle("web", token_policies=["reader"], token_ttl="20m", secret_id_num_uses=2)
    assert approle.list_roles()["data"]["keys"] == ["web"]
    assert approle.read_role("web")["data"]["token_ttl"] == 1200
    approle.update_role_id("web", "known-id")
    role_id = approle.read_role_id("web")["data"]["role_id"]
    assert role_id == "known-id"
    secret = approle.generate_secret_id("web", metadata={"job": "7"})["data"]
    assert approle.list_secret_id_accessors("web")["data"]["keys"] == [secret["secret_id_accessor"]]
    assert approle.read_secret_id("web", secret["secret_id"])["data"]["metadata"] == {"job": "7"}
    assert approle.read_secret_id_accessor("web", secret["secret_id_accessor"])["data"]["secret_id_num_uses"] == 2
    guest = hvac.Client(url=client.url)
    auth = guest.auth.approle.login(role_id, secret["secret_id"])["auth"]
    assert auth["metadata"] == {"role_name": "web", "job": "7"}
    assert guest.is_authenticated()
    approle.create_custom_secret_id("web", "of-my-own", metadata={"x": "y"})
    approle.destroy_secret_id("web", "of-my-own")
    approle.destroy_secret_id_accessor("web", secret["secret_id_accessor"])
    with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid role or secret ID"):
        guest.auth.approle.login(role_id, secret["secret_id"])
    approle.delete_role("web")


def test_userpass(client):
    client.sys.enable_auth_method("userpass", path="people")
    userpass = client.auth.userpass
    userpass.create_or_update_user("Anna", "pw", policies="ops", mount_point="people")
    assert userpass.list_user(mount_point="people")["data"]["keys"] == ["anna"]
    assert userpass.read_user("anna", mount_point="people")["data"]["token_policies"] == ["ops"]
    guest = hvac.Client(url=client.url)
    assert guest.auth.userpass.login("anna", "pw", mount_point="people")["auth"]["policies"] == ["default", "ops"]
    userpass.update_password_on_user("anna", "new", mount_point="people")
    with pytest.raises(hvac.exceptions.InvalidRequest):
        guest.auth.userpass.login("anna", "pw", mount_point="people")
    userpass.delete_user("anna", mount_point="people")


def test_jwt(client):
    client.sys.enable_auth_method("jwt")
    key = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n"
        "q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n"
        "-----END PUBLIC KEY-----"
    )
    client.auth.jwt.configure(jwt_validation_pubkeys=[key], bound_issuer="me", jwt_supported_algs=["ES256"])
    assert client.auth.jwt.read_config()["data"]["bound_issuer"] == "me"
    client.auth.jwt.create_role(
        "r", user_claim="sub", allowed_redirect_uris=[], role_type="jwt", bound_audiences=["x"], bound_claims={"a": "b"}
    )
    assert client.auth.jwt.list_roles()["data"]["keys"] == ["r"]
    assert client.auth.jwt.read_role("r")["data"]["bound_claims"] == {"a": ["b"]}
    with pytest.raises(hvac.exceptions.InvalidRequest, match="error validating token"):
        hvac.Client(url=client.url).auth.jwt.jwt_login("r", "a.b.c")
    client.auth.jwt.delete_role("r")


def test_auth_methods(client):
    client.sys.enable_auth_method("approle", description="machines", config={"default_lease_ttl": "1h"}, path="m")
    assert client.sys.list_auth_methods()["data"]["m/"]["type"] == "approle"
    client.sys.tune_auth_method("m", default_lease_ttl="30m", description="tuned")
    tuned = client.sys.read_auth_method_tuning("m")["data"]
    assert tuned["default_lease_ttl"] == 1800 and tuned["description"] == "tuned"
    client.sys.disable_auth_method("m")
    assert "m/" not in client.sys.list_auth_methods()["data"]


def test_mounts(client):
    client.sys.enable_secrets_engine("kv", path="team", options={"version": 2}, description="of the team")
    assert client.sys.list_mounted_secrets_engines()["data"]["team/"]["options"] == {"version": "2"}
    client.sys.tune_mount_configuration("team", max_lease_ttl="2h", description="tuned")
    assert client.sys.read_mount_configuration("team")["data"]["max_lease_ttl"] == 7200
    client.sys.move_backend("team", "crew")
    client.sys.disable_secrets_engine("crew")
    assert "crew/" not in client.sys.list_mounted_secrets_engines()["data"]


def test_wrapping(client):
    client.secrets.kv.v2.create_or_update_secret("wrapped", {"p": "1"})
    wrapped = client.read("secret/data/wrapped", wrap_ttl="1m")["wrap_info"]
    assert wrapped["ttl"] == 60
    assert client.sys.unwrap(token=wrapped["token"])["data"]["data"] == {"p": "1"}
    with pytest.raises(hvac.exceptions.InvalidRequest):
        client.sys.unwrap(token=wrapped["token"])
    wrapped = client.sys.wrap(payload={"k": "v"}, ttl=60)["wrap_info"]
    guest = hvac.Client(url=client.url, token=wrapped["token"])
    assert guest.sys.unwrap()["data"] == {"k": "v"}


def test_leases(client):
    made = client.auth.token.create(policies=["default"], ttl="1h")["auth"]
    lease = "auth/token/create/" + made["accessor"]
    assert client.sys.read_lease(lease_id=lease)["data"]["id"] == lease
    assert made["accessor"] in client.sys.list_leases(prefix="auth/token/create")["data"]["keys"]
    assert client.sys.renew_lease(lease_id=lease, increment=60)["lease_duration"] == 60
    client.sys.revoke_lease(lease_id=lease)
    assert not as_token(client, made["client_token"]).is_authenticated()


def test_quotas(client):
    client.sys.create_or_update_quota("q", rate=100.5, path="secret/", interval="1s")
    assert client.sys.read_quota("q")["data"]["rate"] == 100.5
    assert client.sys.list_quotas()["data"]["keys"] == ["q"]
    client.sys.delete_quota("q")

// node-vault, the JavaScript client, as its users call it: `node node_vault.mjs ADDRESS TOKEN FOLDER`, where FOLDER holds its package.
// Each step's name is printed once it is done; the first that fails ends it.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [endpoint, token, folder] = process.argv.slice(2);
const connect = createRequire(`${folder}/`)('node-vault');
const vault = connect({ endpoint, token });
// A client of its own: node-vault goes on with whatever token it was given last.
const as = (other) => connect({ endpoint, token: other });
const refused = (promise, status, text) =>
    assert.rejects(promise, (error) => {
        assert.equal(error.response.statusCode, status, error.message);
        assert.match(error.message, text);
        return true;
    });

const steps = {
    async 'server state'() {
        assert.equal((await vault.status()).sealed, false);
        assert.equal((await vault.initialized()).initialized, true);
        assert.equal((await vault.health()).initialized, true);
        assert.equal((await vault.leader()).ha_enabled, false);
        await refused(vault.init({ secret_shares: 1, secret_threshold: 1 }), 400, /Vault is already initialized/);
    },

    async 'KV v2'() {
        await vault.write('secret/data/hello', { data: { value: 'world', n: 1 } });
        assert.deepEqual((await vault.read('secret/data/hello')).data.data, { value: 'world', n: 1 });
        await vault.update('secret/data/hello', { data: { value: 'everyone' } });
        const read = await vault.read('secret/data/hello');
        assert.deepEqual([read.data.data.value, read.data.metadata.version], ['everyone', 2]);
        assert.equal((await vault.read('secret/data/hello?version=1')).data.data.value, 'world');
        assert.deepEqual((await vault.list('secret/metadata')).data.keys, ['hello']);
        const plain = connect({ endpoint, token, noCustomHTTPVerbs: true });
        assert.deepEqual((await plain.list('secret/metadata')).data.keys, ['hello']);
        await vault.destroySecretVersions({ mount_point: 'secret', path: 'hello', versions: [1] }).catch(async (error) => {
            // Older releases name these parameters otherwise; the call itself is the same.
            if (error.response) throw error;
            await vault.write('secret/destroy/hello', { versions: [1] });
        });
        assert.equal((await vault.read('secret/metadata/hello')).data.versions['1'].destroyed, true);
        await vault.delete('secret/data/hello');
        await refused(vault.read('secret/data/hello'), 404, /Status 404/);
        await vault.delete('secret/metadata/hello');
        await refused(vault.list('secret/metadata'), 404, /Status 404/);
        await refused(vault.write('secret/data/hello', { value: 1 }), 400, /no data provided/);
    },

    async 'mounts and KV v1'() {
        await vault.mount({ mount_point: 'old', type: 'kv', description: 'plain' });
        assert.equal((await vault.mounts())['old/'].type, 'kv');
        await vault.write('old/a', { k: 'v' });
        await vault.remount({ from: 'old', to: 'older' });
        assert.deepEqual((await vault.read('older/a')).data, { k: 'v' });
        await vault.unmount({ mount_point: 'older' });
        assert.equal((await vault.mounts())['older/'], undefined);
        await refused(vault.read('older/a'), 404, /no handler for route/);
    },

    async 'policies'() {
        await vault.addPolicy({ name: 'reader', rules: '{ "path": { "secret/data/*": { "policy": "read" } } }' });
        assert.match((await vault.getPolicy({ name: 'reader' })).rules, /secret/);
        assert.ok((await vault.policies()).policies.includes('reader'));
        await vault.removePolicy({ name: 'reader' });
        assert.ok(!(await vault.policies()).policies.includes('reader'));
    },

    async 'tokens'() {
        const made = (await as(token).tokenCreate({ policies: ['default'], ttl: '1h' })).auth;
        assert.equal((await vault.tokenLookup({ token: made.client_token })).data.accessor, made.accessor);
        assert.equal((await vault.tokenLookupAccessor({ accessor: made.accessor })).data.id, '');
        assert.equal((await as(made.client_token).tokenLookupSelf()).data.id, made.client_token);
        assert.equal((await as(token).tokenRenew({ token: made.client_token, increment: '30m' })).auth.renewable, true);
        assert.ok((await as(made.client_token).tokenRenewSelf()).auth.lease_duration > 0);
        assert.ok((await vault.tokenAccessors()).data.keys.includes(made.accessor));
        await refused(as(made.client_token).read('secret/data/x'), 403, /permission denied/);
        await vault.tokenRevokeAccessor({ accessor: made.accessor });
        await refused(as(made.client_token).tokenLookupSelf(), 403, /permission denied/);

        const orphan = (await as(token).tokenCreateOrphan({ policies: ['default'] })).auth;
        assert.equal(orphan.orphan, true);
        await vault.tokenRevokeOrphan({ token: orphan.client_token });
        const other = (await as(token).tokenCreate({ policies: ['default'] })).auth;
        await as(other.client_token).tokenRevokeSelf();
        const last = (await as(token).tokenCreate({ policies: ['default'] })).auth;
        await vault.tokenRevoke({ token: last.client_token });
        await refused(vault.tokenLookup({ token: last.client_token }), 403, /bad token/);

        await vault.addTokenRole({ role_name: 'r', allowed_policies: 'default', period: 3600 });
        assert.deepEqual((await vault.tokenRoles()).data.keys, ['r']);
        assert.equal((await vault.getTokenRole({ role_name: 'r' })).data.name, 'r');
        assert.ok((await as(token).tokenCreateRole({ role_name: 'r' })).auth.client_token);
        await vault.removeTokenRole({ role_name: 'r' });
    },

    async 'AppRole'() {
        await vault.enableAuth({ mount_point: 'approle', type: 'approle', description: 'machines' });
        assert.equal((await vault.auths())['approle/'].type, 'approle');
        await vault.addApproleRole({ role_name: 'r', policies: 'default', token_ttl: 600 });
        assert.deepEqual((await vault.approleRoles()).data.keys, ['r']);
        assert.deepEqual((await vault.getApproleRole({ role_name: 'r' })).data.token_policies, ['default']);
        const { role_id } = (await vault.getApproleRoleId({ role_name: 'r' })).data;
        await vault.updateApproleRoleId({ role_name: 'r', role_id: 'chosen' });
        assert.notEqual(role_id, (await vault.getApproleRoleId({ role_name: 'r' })).data.role_id);
        const { secret_id, secret_id_accessor } = (await vault.getApproleRoleSecret({ role_name: 'r' })).data;
        const login = await connect({ endpoint }).approleLogin({ role_id: 'chosen', secret_id });
        assert.equal(login.auth.metadata.role_name, 'r');
        assert.deepEqual((await vault.approleSecretAccessors({ role_name: 'r' })).data.keys, [secret_id_accessor]);
        assert.ok((await vault.approleSecretLookup({ role_name: 'r', secret_id })).data.creation_time);
        await vault.approleSecretAccessorLookup({ role_name: 'r', secret_id_accessor });
        await vault.approleSecretDestroy({ role_name: 'r', secret_id });
        await refused(connect({ endpoint }).approleLogin({ role_id: 'chosen', secret_id }), 400, /invalid role or secret ID/);
        await vault.deleteApproleRole({ role_name: 'r' });
        await vault.disableAuth({ mount_point: 'approle' });
    },

    async 'userpass'() {
        await vault.enableAuth({ mount_point: 'userpass', type: 'userpass' });
        await vault.write('auth/userpass/users/anna', { password: 'a long word', policies: 'default' });
        const client = connect({ endpoint });
        const login = await client.userpassLogin({ username: 'anna', password: 'a long word' });
        assert.deepEqual(login.auth.policies, ['default']);
        await refused(connect({ endpoint }).userpassLogin({ username: 'anna', password: 'x' }), 400, /invalid username or password/);
        await vault.disableAuth({ mount_point: 'userpass' });
    },

    async 'wrapping'() {
        await vault.write('secret/data/w', { data: { k: 'v' } });
        const { wrap_info } = await vault.read('secret/data/w', { headers: { 'X-Vault-Wrap-TTL': '60' } });
        assert.equal((await as(token).unwrap({ token: wrap_info.token })).data.data.k, 'v');
        await refused(as(token).unwrap({ token: wrap_info.token }), 400, /wrapping token is not valid or does not exist/);
    },

    async 'keys and leases'() {
        await vault.rotate();
        await refused(vault.renew({ lease_id: 'never' }), 400, /lease not found/);
        await vault.revoke({ lease_id: 'never' });
        await vault.revokePrefix({ path_prefix: 'never' });
    },

    async 'namespaces'() {
        const read = (namespace) => connect({ endpoint, token, namespace }).read('secret/config');
        assert.equal((await read('root')).data.cas_required, false);
        await refused(read('team'), 404, /the root namespace only/);
    },
};

for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log(`done: ${name}`);
}

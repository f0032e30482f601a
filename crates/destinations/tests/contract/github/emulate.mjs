// Makes a GitHub app for emulate: emulate.mjs KEY SEED writes a new private key and a seed that knows it.
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";

const [key, seed] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
});
writeFileSync(key, privateKey, { mode: 0o600 });
// JSON is YAML.
writeFileSync(seed, JSON.stringify({
    github: {
        users: [{ login: "octocat" }],
        repos: [{ owner: "octocat", name: "hello-world" }],
        apps: [{
            app_id: 4242,
            slug: "keyferry",
            name: "keyferry",
            private_key: privateKey,
            permissions: { secrets: "write", metadata: "read" },
            installations: [{ installation_id: 9001, account: "octocat" }],
        }],
    },
}), { mode: 0o600 });

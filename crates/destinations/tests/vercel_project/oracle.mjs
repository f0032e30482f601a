// Judges exchanges with Vercel by the schemas of its SDK: node oracle.mjs FOLDER_WITH_NODE_MODULES <exchanges.json
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const models = (name) =>
  import(pathToFileURL(`${process.argv[2]}/node_modules/@vercel/sdk/esm/models/${name}.js`).href);
const create = await models("createprojectenvop");
const list = await models("filterprojectenvsop");
const edit = await models("editprojectenvop");
const remove = await models("removeprojectenvop");
const removeMany = await models("batchremoveprojectenvop");

const schemas = {
  create: [create.CreateProjectEnvRequestBody$outboundSchema, create.CreateProjectEnvResponseBody$inboundSchema, 201],
  list: [null, list.FilterProjectEnvsResponseBody$inboundSchema, 200],
  edit: [edit.EditProjectEnvRequestBody$outboundSchema, edit.EditProjectEnvResponseBody$inboundSchema, 200],
  remove: [null, remove.RemoveProjectEnvResponseBody$inboundSchema, 200],
  "remove-many": [
    removeMany.BatchRemoveProjectEnvRequestBody$outboundSchema,
    removeMany.BatchRemoveProjectEnvResponseBody$inboundSchema,
    200,
  ],
};

// What a schema does not know it leaves out: then the two differ.
const sent = (schema, body) => assert.deepEqual(schema.parse(body), body);

function judge({ operation, request, status, answer }) {
  const [outbound, inbound, success] = schemas[operation];
  if (outbound) sent(outbound, request);
  else assert.equal(request, null, `${operation} takes no body`);
  if (status === success) {
    // The vendor's third form, a list of nothing else, is not in its schemas; ours reads it all the same.
    if (operation === "list" && answer.envs && !answer.pagination && answer.hiddenProductionEnvCount === undefined) {
      answer = { ...answer, hiddenProductionEnvCount: 0 };
    }
    inbound.parse(answer);
  } else {
    assert.ok(status >= 400, `${operation} answered ${status}`);
    assert.equal(typeof answer.error.code, "string");
    assert.equal(typeof answer.error.message, "string");
  }
}

const exchanges = JSON.parse(readFileSync(0, "utf8"));
for (const exchange of exchanges) judge(exchange);

// The judge can say no.
const good = { key: "A", value: "v", type: "encrypted", target: ["production"], comment: "c" };
const broken = [
  { ...good, type: "secret" },
  { ...good, target: undefined },
  { ...good, target: ["staging"] },
  { ...good, unheard: true },
];
let refused = 0;
for (const body of broken) {
  try {
    sent(schemas.create[0], body);
  } catch {
    refused += 1;
  }
}
console.log(`${exchanges.length} exchanges accepted, ${refused} broken ones refused`);

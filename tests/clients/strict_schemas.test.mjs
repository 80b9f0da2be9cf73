// Every part the application emits passes the part schemas of AI SDK's first releases, which are strict, and the latest's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APP, APP_WITHOUT_STORE, newcomer, post, until } from "./harness.mjs";
import { RELEASES, readWith } from "./releases.mjs";

/** The bytes of an answer, and of its replay to a client that comes later. */
async function record(prompt, { base = APP, stop = false } = {}) {
  const { user, chatId } = newcomer();
  const headers = { "x-user": user };
  const response = await post(chatId, user, prompt, { base });
  assert.equal(response.status, 200);
  if (stop) {
    await until(async () => (await (await fetch(`${base}/api/chat/${chatId}`, { headers })).json()).active, "it is active");
    await fetch(`${base}/api/chat/${chatId}/stop`, { method: "POST", headers });
  }
  const texts = [await response.text()];
  if (base === APP) texts.push(await (await fetch(`${base}/api/chat/${chatId}/stream`, { headers })).text());
  return texts;
}

const cases = {
  "a complete answer": { prompt: "Hello", types: ["start", "text-start", "text-delta", "text-end", "finish"] },
  "a model that breaks": { prompt: "!crash", types: ["data-streamguard-error", "error"] },
  "a stopped answer": { prompt: "!slow 100", stop: true, types: ["abort"] },
  "a notice in a good answer": { prompt: "Hello", base: APP_WITHOUT_STORE, types: ["data-streamguard-error", "finish"] },
};

for (const [name, { types, prompt, ...how }] of Object.entries(cases)) {
  test(`${name} is valid on ${Object.keys(RELEASES).join(", ")}`, { timeout: 20_000 }, async () => {
    for (const text of await record(prompt, how)) {
      const sent = Array.from(text.matchAll(/^data: (.*)$/gm), (match) => match[1]);
      assert.equal(sent.at(-1), "[DONE]");
      const expected = sent.slice(0, -1).map((json) => JSON.parse(json));
      const seen = new Set(expected.map((part) => part.type));
      for (const type of types) assert.ok(seen.has(type), `${type} in ${[...seen]}`);
      for (const [version, release] of Object.entries(RELEASES)) {
        assert.deepEqual(await readWith(release, text), expected, version);
      }
      for (const part of expected) {
        assert.doesNotMatch(JSON.stringify(part), /:null[,}]/);
        if (part.type === "error") assert.deepEqual(Object.keys(part).sort(), ["errorText", "type"]);
      }
    }
  });
}

test("the fixtures are strict: 5.0.0, 6.0.0 and 7.0.0 refuse a field they do not know", async () => {
  for (const version of ["5.0.0", "6.0.0", "7.0.0"]) {
    await assert.rejects(readWith(RELEASES[version], 'data: {"type":"error","errorText":"x","code":"y"}\n\n'), version);
  }
});

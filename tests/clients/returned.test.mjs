// Every release of AI SDK reads the streams that endpoints return, whole, broken off, and resumed elsewhere.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { messageOf, RELEASES, readWith } from "./releases.mjs";

/** Per kind and way to end: the bytes that its clients of each version got, and the text of the saved message. */
const ANSWERS = JSON.parse(readFileSync(process.env.ANSWERS, "utf8"));

for (const { kind, end, bodies, text } of ANSWERS) {
  test(`${kind}, ${end}`, { timeout: 30_000 }, async () => {
    for (const [version, body] of Object.entries(bodies)) {
      const parts = await readWith(RELEASES[version], body);
      assert.equal(parts[0].type, "start", version);
      assert.ok(parts[0].messageId, version);
      if (end === "failed") {
        assert.deepEqual(parts.slice(-2).map((part) => part.type), ["data-streamguard-error", "error"], version);
        assert.deepEqual(Object.keys(parts.at(-1)).sort(), ["errorText", "type"], version);
        assert.doesNotMatch(JSON.stringify(parts), /own words/, version);
        continue;
      }
      const message = await messageOf(RELEASES[version], body);
      const said = message.parts.filter((part) => part.type === "text").map((part) => part.text);
      assert.deepEqual(said, [text], version);
    }
  });
}

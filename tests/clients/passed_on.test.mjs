// Streams of parts that are passed on byte for byte, read by every release of `ai`: with ids, and cut off.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { RELEASES, messageOf, readWith } from "./releases.mjs";

/** By name: the wire's text, the message that is saved, and whether the answer failed. */
const CASES = JSON.parse(readFileSync(process.env.CASES, "utf8"));

const said = (message) => message.parts.map((part) => part.text ?? part.errorText ?? part.state).filter(Boolean);

for (const [version, release] of Object.entries(RELEASES)) {
  describe(`ai ${version}`, () => {
    for (const [name, { text, message, failed }] of Object.entries(CASES)) {
      test(name, async () => {
        const types = (await readWith(release, text)).map((part) => part.type);
        assert.equal(types[0], "start");
        assert.equal(types.includes("error"), failed);
        assert.equal(types.includes("finish"), !failed);
        const held = await messageOf(release, text).catch((error) => assert.ok(failed, error));
        if (held === undefined) return; // 5 and 6 throw at an `error` part, having shown what came before
        assert.equal(held.id, message.id);
        assert.deepEqual(said(held), said(message));
      });
    }
  });
}

// The tables of what each version of AI SDK's client takes, asked of the packages themselves.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RELEASES, readWith } from "./releases.mjs";

/** By version: parts, and whether our table has that version take them. */
const PROBES = JSON.parse(readFileSync(process.env.PROBES, "utf8"));

async function isTaken(release, part) {
  try {
    return (await readWith(release, `data: ${JSON.stringify(part)}\n\n`)).length === 1;
  } catch {
    return false;
  }
}

test("there is a package for every version in the tables", () => {
  assert.deepEqual(Object.keys(PROBES).sort(), Object.keys(RELEASES).sort());
});

for (const [version, probes] of Object.entries(PROBES)) {
  test(`${version} takes what the tables say`, { timeout: 60_000 }, async () => {
    assert.ok(probes.length > 100);
    for (const { part, taken } of probes) assert.equal(await isTaken(RELEASES[version], part), taken, JSON.stringify(part));
  });
}

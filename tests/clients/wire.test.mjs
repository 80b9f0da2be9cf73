// The wire of each endpoint, read whole by clients that know SSE, with a keep-alive between every two items.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { RELEASES, messageOf, readWith } from "./releases.mjs";

const BASE = process.env.WIRE_URL;
/** By endpoint, what a client gets of its own: parts, or texts. */
const EXPECTED = JSON.parse(process.env.EXPECTED);
/** One for each session: an owner's answers are limited. */
const as = (session) => ({ "x-user": session });

// What fetch-event-source asks of a browser.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

/** Begins an answer and leaves it; its session. */
async function begin(name) {
  const session = randomUUID();
  const leave = new AbortController();
  await fetch(`${BASE}/${name}?id=${session}`, { method: "POST", headers: as(session), signal: leave.signal });
  leave.abort();
  return session;
}

async function answer(name, session, version) {
  const headers = { ...as(session), ...(version && { "x-ai-sdk-version": version }) };
  return (await fetch(`${BASE}/${name}?id=${session}`, { method: "POST", headers })).text();
}

const isText = (name) => EXPECTED[name].every((one) => typeof one === "string");

function understood(name, data) {
  if (isText(name)) return data;
  const parts = data.map((text) => (text === "[DONE]" ? text : JSON.parse(text)));
  return name.startsWith("ui") ? parts.slice(1) : parts; // `start`
}

/** Reads the answer of a session until it ends. */
function listen(session) {
  const data = [];
  return new Promise((resolve, reject) => {
    const source = new EventSource(`${BASE}/api/chat/${session}/stream`, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...as(session) } }),
    });
    const end = () => {
      source.close();
      resolve(data);
    };
    source.onmessage = (event) => {
      data.push(event.data);
      if (event.data === "[DONE]") end();
    };
    source.addEventListener("streamguard.end", end);
    source.onerror = (event) => reject(new Error(`it broke off: ${event.message}`));
  });
}

async function fetched(path, method, session) {
  const messages = [];
  await fetchEventSource(`${BASE}${path}`, {
    method,
    headers: as(session),
    openWhenHidden: true,
    onmessage: (message) => messages.push(message),
    onerror: (error) => {
      throw error;
    },
  });
  return messages.filter(({ event }) => event === "" || event === "message").map(({ data }) => data);
}

describe("each answer is read whole", { concurrency: 8 }, () => {
  for (const name of Object.keys(EXPECTED)) {
    test(`${name}: eventsource, from the resume route`, { timeout: 30_000 }, async () => {
      const session = await begin(name);
      assert.deepEqual(understood(name, await listen(session)), EXPECTED[name]);
    });

    for (const ids of [0, 1]) {
      test(`${name}: fetch-event-source, the answer with ids=${ids}`, { timeout: 30_000 }, async () => {
        const session = randomUUID();
        const data = await fetched(`/${name}?id=${session}&ids=${ids}`, "POST", session);
        // What a keep-alive in a block of its own costs: an empty message for each.
        assert.equal(data.includes(""), name.endsWith("block") && !ids);
        const said = data.filter((text) => text !== "");
        assert.deepEqual(understood(name, said), EXPECTED[name]);
      });
    }

    test(`${name}: fetch-event-source, from the resume route`, { timeout: 30_000 }, async () => {
      const session = await begin(name);
      const data = await fetched(`/api/chat/${session}/stream`, "GET", session);
      assert.deepEqual(understood(name, data), EXPECTED[name]);
    });
  }

  for (const [version, release] of Object.entries(RELEASES)) {
    for (const name of ["ui", "ui-without-ids", "ui-block", "raw-parts", "opaque", "passed-on"]) {
      test(`${name}: ai ${version}`, { timeout: 30_000 }, async () => {
        const parts = await readWith(release, await answer(name, randomUUID()));
        assert.deepEqual(name.startsWith("ui") ? parts.slice(1) : parts, EXPECTED[name].slice(0, -1));
      });
    }

    test(`an answer written for it, and again from the resume route: ai ${version}`, { timeout: 30_000 }, async () => {
      const session = randomUUID();
      const said = await answer("ui-late", session, version);
      const again = await (await fetch(`${BASE}/api/chat/${session}/stream`, { headers: as(session) })).text();
      assert.equal(again, said.replaceAll(": hb\n", ""));
      assert.equal((await readWith(release, said)).at(-1).type, "finish");
      const message = await messageOf(release, said);
      const states = message.parts.map((part) => part.text ?? part.state).filter(Boolean);
      assert.deepEqual(states, ["said", "output-error", "output-available"]);
    });

    test(`the same answer ends ai ${version} unless it is written for that`, { timeout: 30_000 }, async () => {
      const said = await answer("ui-late", randomUUID(), "7.0.173");
      if (version === "7.0.173") assert.equal((await readWith(release, said)).at(-1).type, "finish");
      else await assert.rejects(readWith(release, said));
    });
  }
});

// What AI SDK's clients make of the answers that the adapters of model libraries tell: no client refuses a part of
// them, and what the client holds in the end is what is saved.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { RELEASES, messageOf } from "./releases.mjs";

/** For each answer: its chat, what was asked, the client's version, the bytes, the saved parts, how it ended. */
const ANSWERS = JSON.parse(readFileSync(process.env.ANSWERS, "utf8"));

/** As it travels: without what is undefined. */
const plain = (value) => JSON.parse(JSON.stringify(value));

/** What of a part is the same in every release. */
function shown(part) {
  const { type, text, state, toolCallId, input, output, errorText } = part;
  return plain({ type, text, state, toolCallId, input, output, errorText });
}

/** The message and the error that a client of this release has in the end. */
async function shownBy(release, wire) {
  const errors = [];
  const message = await messageOf(release, wire).catch((error) => errors.push(error) && undefined);
  return { message, errors };
}

for (const { name, version, wire, parts, outcome } of ANSWERS) {
  test(`${name}, ${version}`, { timeout: 20_000 }, async () => {
    const { message, errors } = await shownBy(RELEASES[version], wire);
    assert.deepEqual(errors.filter((error) => /TypeValidation/.test(error.name)), []);
    if (outcome !== "failed") assert.deepEqual(message.parts.map(shown), parts.map(shown));
    if (outcome !== "failed" && version === "7.0.173") assert.deepEqual(plain(message.parts), parts);
  });
}

for (const { name, wire, parts, outcome } of ANSWERS.filter(({ version }) => version === "7.0.173")) {
  test(`${name}: what useChat shows`, { timeout: 20_000 }, async () => {
    const fetch = async () => new Response(wire, { headers: { "content-type": "text/event-stream" } });
    const told = [];
    const onError = (error) => told.push(error.message);
    const chat = new Chat({ id: "c", transport: new DefaultChatTransport({ fetch }), onError });
    await chat.sendMessage({ text: "Hello" });
    assert.equal(chat.status, outcome === "failed" ? "error" : "ready");
    assert.equal(told.length, outcome === "failed" ? 1 : 0);
    for (const text of told) assert.match(text, /^The model/);
    assert.deepEqual(plain(chat.lastMessage.parts), parts);
  });
}

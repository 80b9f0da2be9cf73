// Native-style EventSource on the resume route.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventSource } from "eventsource";
import { ANSWERS, Network, body, newcomer, post } from "./harness.mjs";

const PROMPT = "Tell me of streams";

/** Listens until the source closes for good; what it got, and the Last-Event-ID of each connection. */
function listen(url, user) {
  const seen = { blocks: [], lastEventIds: [], statuses: [] };
  const source = new EventSource(url, {
    fetch: async (input, init) => {
      seen.lastEventIds.push(init.headers["Last-Event-ID"] ?? null);
      const response = await fetch(input, { ...init, headers: { ...init.headers, "x-user": user } });
      seen.statuses.push(response.status);
      return response;
    },
  });
  source.onmessage = ({ data, lastEventId }) => seen.blocks.push({ data, lastEventId });
  return new Promise((resolve) => {
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) resolve(seen);
    };
  });
}

test("it reconnects by Last-Event-ID after each cut, sees every event once, and stops on 204", { timeout: 40_000 }, async () => {
  const { user, chatId } = newcomer();
  const network = await Network.open();
  const answer = await post(chatId, user, PROMPT);
  network.cutAfter(10);
  const { blocks, lastEventIds, statuses } = await listen(`${network.url}/api/chat/${chatId}/stream`, user);
  const whole = await answer.text();

  assert.equal(network.cuts, 1);
  assert.deepEqual(statuses, [200, 200, 204]);
  assert.equal(lastEventIds[0], null);
  assert.equal(lastEventIds[1], blocks[9].lastEventId);
  assert.equal(lastEventIds[2], blocks.at(-1).lastEventId);

  const data = blocks.map((block) => block.data);
  assert.deepEqual(data, Array.from(whole.matchAll(/^data: (.*)$/gm), (match) => match[1]));
  const text = data.filter((json) => json !== "[DONE]").map((json) => JSON.parse(json).delta ?? "").join("");
  assert.equal(text, ANSWERS[PROMPT]);
});

test("it stops at once where there never was a stream", { timeout: 10_000 }, async () => {
  const { user, chatId } = newcomer();
  const network = await Network.open();
  const { blocks, statuses } = await listen(`${network.url}/api/chat/${chatId}/stream`, user);
  assert.deepEqual(statuses, [204]);
  assert.deepEqual(blocks, []);
});

test("fetch-event-source sends its POST again after a cut, and the answer goes on", { timeout: 40_000 }, async () => {
  Object.assign(globalThis, { window: globalThis, document: { removeEventListener: () => {} } });
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  const { user, chatId } = newcomer();
  const network = await Network.open();
  network.cutAfter(10);
  const seen = { data: [], ids: [], lastEventIds: [] };
  await fetchEventSource(`${network.url}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-user": user, "idempotency-key": `key-${chatId}` },
    body: JSON.stringify(body(chatId, PROMPT)),
    openWhenHidden: true,
    fetch: (input, init) => {
      seen.lastEventIds.push(init.headers["last-event-id"] ?? null);
      return fetch(input, init);
    },
    onmessage: ({ data, id }) => {
      if (!data) return; // it makes a message of each comment's block
      seen.data.push(data);
      seen.ids.push(id);
    },
    onerror: (error) => {
      if (seen.lastEventIds.length > 2) throw error;
      return 10;
    },
  });
  assert.equal(network.cuts, 1);
  assert.equal(seen.lastEventIds.length, 2);
  assert.equal(seen.lastEventIds[0], null);
  assert.ok(seen.ids.includes(seen.lastEventIds[1]));
  assert.equal(new Set(seen.ids).size, seen.ids.length);
  const text = seen.data.filter((json) => json !== "[DONE]").map((json) => JSON.parse(json).delta ?? "").join("");
  assert.equal(text, ANSWERS[PROMPT]);
});

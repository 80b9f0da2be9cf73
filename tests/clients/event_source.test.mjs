// Native-style EventSource on the resume route.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventSource } from "eventsource";
import { ANSWERS, Network, newcomer, post } from "./harness.mjs";

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

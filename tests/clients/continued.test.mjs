// `streamguard-client`, as npm packs it: an answer that continues a message, after a lost connection. The page shows the
// whole message, not only what was added. The application is tests/apps/booking.py.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APP, browserFetch, newcomer, until } from "./harness.mjs";
import { Cuts } from "./cuts.mjs";
import { State } from "./page_state.mjs";
import { RELEASES } from "./releases.mjs";

const { ConnectionLostError, StreamguardTransport } = await import(process.env.STREAMGUARD_CLIENT);
const options = { timeout: 60_000 };

/**
 * A page of one chat, whose tool looks for its place. `beforeResult` is called before the result is sent. `called`: the tools
 * that the page was told to run.
 */
function openPage(ai, version, cuts, reconnect, beforeResult = () => {}) {
  const { user, chatId } = newcomer();
  const page = { errors: [], called: [], chatId };
  page.transport = new StreamguardTransport({
    api: `${cuts.url}/api/chat`,
    headers: { "x-user": user },
    clientVersion: version,
    reconnect,
    prepareRequest: ({ messages }) => (messages.at(-1).role === "assistant" && beforeResult()) || {},
  });
  class Page extends ai.AbstractChat {}
  page.chat = new Page({
    id: chatId,
    state: new State([]),
    transport: page.transport,
    sendAutomaticallyWhen: (state) => ai.lastAssistantMessageIsCompleteWithToolCalls(state),
    onToolCall: ({ toolCall: { toolName: tool, toolCallId } }) => {
      page.called.push(tool);
      if (tool === "locate") void page.chat.addToolResult({ tool, toolCallId, output: "Lisbon" });
    },
    onError: (error) => page.errors.push(error),
  });
  page.fetch = browserFetch(APP, user);
  return page;
}

/** The assistant's message as it is shown: the text of a call's input is nothing to be shown. */
const shown = ({ chat }) => JSON.parse(JSON.stringify(chat.lastMessage.parts.map(({ rawInput, ...part }) => part)));
const lastText = ({ chat }) => chat.lastMessage?.parts.findLast(({ type }) => type === "text")?.text;

async function kept({ fetch, chatId }) {
  const { messages } = await (await fetch(`/api/chat/${chatId}/messages`)).json();
  return messages.at(-1).parts;
}

for (const [version, ai] of Object.entries(RELEASES)) {
  if (version.endsWith(".0")) continue; // the first releases append a replay to what a page has shown

  test(`${version}: after its connection was lost, a resume shows the whole message`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const page = openPage(ai, version, cuts, { initialDelayMs: 1, maxDelayMs: 1, maxAttempts: 2 });
    void page.chat.sendMessage({ text: "A table, and hold 2" });
    await until(() => lastText(page) === "You are in Lisbon. ", "it goes on");
    const before = shown(page);
    for (let lost = 1; lost <= 2; lost += 1) {
      cuts.refusing = true;
      cuts.cut();
      await until(() => page.errors.length === lost, "the connection is lost");
      assert.ok(page.errors.at(-1) instanceof ConnectionLostError);
      cuts.refusing = false;
      void page.chat.resumeStream();
      await until(() => page.chat.status === "streaming", "it goes on");
      assert.deepEqual(shown(page).slice(0, -1), before.slice(0, -1));
      assert.equal(lastText(page), "You are in Lisbon. ");
    }
    await page.transport.stop(page.chatId);
    await until(() => page.chat.status === "ready", "it is stopped");
    assert.deepEqual(shown(page), await kept(page));
    cuts.close();
  });

  test(`${version}: what is sent again is answered in the whole message`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const page = openPage(ai, version, cuts, { maxAttempts: 0 }, () => {
      cuts.loseReplies = 1;
    });
    await page.chat.sendMessage({ text: "A table, please" });
    await until(() => page.errors.length === 1, "the answer to the tool's result was lost");
    await page.transport.resend(page.chat);
    assert.deepEqual(page.called, ["locate", "book"]);
    assert.equal(page.errors.length, 1);
    // Version 5 knows of no approvals.
    const seen = (parts) => parts.map(({ approval, state, ...part }) => (version.startsWith("5") ? part : { approval, state, ...part }));
    assert.deepEqual(seen(shown(page)), seen(await kept(page)));
    assert.deepEqual(shown(page).map(({ type }) => type).slice(0, 4), ["step-start", "text", "tool-locate", "step-start"]);
    cuts.close();
  });
}

// Conversations whose last answer ended early go on: AI SDK 5, 6 and 7 convert them, as they are stored and as a client
// holds them, and its own providers for OpenAI and Anthropic send them. What they send is checked by test_histories.py.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import * as ai7 from "ai";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import { createAnthropic as createAnthropic5 } from "anthropic5";
import { createAnthropic as createAnthropic6 } from "anthropic6";
import { createOpenAI as createOpenAI5 } from "openai5";
import { createOpenAI as createOpenAI6 } from "openai6";

globalThis.AI_SDK_LOG_WARNINGS = false; // AI SDK 7: `rawInput`, which its own client keeps, is deprecated

const HISTORIES = JSON.parse(readFileSync(process.env.HISTORIES, "utf8"));
const NEXT = { id: "u2", role: "user", parts: [{ type: "text", text: "And now?" }] };

const RELEASES = {
  "5.0.0": { ai: ai5, openai: createOpenAI5, anthropic: createAnthropic5, approvals: false, providersErrors: false },
  "6.0.0": { ai: ai6, openai: createOpenAI6, anthropic: createAnthropic6, approvals: true, providersErrors: false },
  "7.0.173": { ai: ai7, openai: createOpenAI, anthropic: createAnthropic, approvals: true, providersErrors: true },
};

const PROVIDERS = {
  chat: ({ openai }, fetch) => openai({ apiKey: "k", fetch }).chat("gpt-5"),
  responses: ({ openai }, fetch) => openai({ apiKey: "k", fetch }).responses("gpt-5"),
  anthropic: ({ anthropic }, fetch) => anthropic({ apiKey: "k", fetch })("claude-sonnet-4-5"),
};

const sent = [];
after(() => writeFileSync(process.env.SENT, JSON.stringify(sent)));

/** The message that this release's client makes of a stream, going on from the one it had. */
async function held({ readUIMessageStream, DefaultChatTransport }, { wire, before }) {
  const transport = new DefaultChatTransport({
    fetch: async () => new Response(wire, { headers: { "content-type": "text/event-stream" } }),
  });
  const stream = await transport.reconnectToStream({ chatId: "c" });
  const message = before === null ? undefined : structuredClone(before);
  let last;
  for await (const state of readUIMessageStream({ stream, message, onError: () => {} })) last = state;
  return JSON.parse(JSON.stringify(last)); // as it travels
}

/** What a provider is sent for these messages. */
async function bodyOf({ streamText }, model, messages) {
  const bodies = [];
  const fetch = async (_, { body }) => {
    bodies.push(JSON.parse(body));
    return new Response("{}", { status: 400 });
  };
  const errors = [];
  const onError = ({ error }) => errors.push(error);
  for await (const _ of streamText({ model: model(fetch), messages, maxRetries: 0, onError }).fullStream);
  assert.equal(bodies.length, 1, `nothing was sent: ${errors}`);
  return bodies[0];
}

/** Whether a provider of this release has the history's calls, and knows their errors. */
function takes(release, provider, { name }) {
  if (!name.includes("the provider's")) return true;
  // Neither OpenAI's chat has such tools, nor do AI SDK 5 and 6 tell Anthropic of an error of one: not of their own either.
  return provider === "responses" || (provider === "anthropic" && release.providersErrors);
}

for (const [version, release] of Object.entries(RELEASES)) {
  for (const history of HISTORIES) {
    if (history.name.includes("approval") && !release.approvals) continue;
    const [question, answer] = history.messages;
    const answers = { stored: async () => answer, "as its client holds it": () => held(release.ai, history) };
    for (const [how, given] of Object.entries(answers)) {
      const name = `${history.name}, ${how}, in AI SDK ${version}`;
      test(name, { timeout: 20_000 }, async () => {
        const messages = await release.ai.convertToModelMessages([question, await given(), NEXT]);
        for (const [provider, model] of Object.entries(PROVIDERS)) {
          if (!takes(release, provider, history)) continue;
          const body = await bodyOf(release.ai, (fetch) => model(release, fetch), messages);
          sent.push({ name, provider, body });
        }
      });
    }
  }
}

// The SDKs of OpenAI and Anthropic read a provider's streams through `StreamGuardMiddleware`; see test_sdks.py.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { Stream as AnthropicStream } from "@anthropic-ai/sdk/core/streaming";
import OpenAI from "openai";
import { Stream } from "openai/core/streaming";

const { GUARDED_URL, BARE_URL } = process.env;
const MODELS = JSON.parse(process.env.MODELS);
const ONE_EACH = ["openai-chat-text", "openai-responses-text", "anthropic-text"];
const USER = { "x-user": "ann" };

/** Begins a stream of the SDK that the model is for. */
async function begin(model, base, { ids = false, session = randomUUID(), headers = {} } = {}) {
  const options = { headers: { ...USER, "x-session": session, ...headers }, query: ids ? { ids: 1 } : {}, maxRetries: 0 };
  const messages = [{ role: "user", content: "Hi" }];
  if (model.startsWith("anthropic")) {
    const sdk = new Anthropic({ apiKey: "key", baseURL: base });
    return sdk.messages.create({ model, messages, max_tokens: 100, stream: true }, options);
  }
  const sdk = new OpenAI({ apiKey: "key", baseURL: `${base}/v1` });
  return model.includes("chat")
    ? sdk.chat.completions.create({ model, messages, stream: true }, options)
    : sdk.responses.create({ model, input: "Hi", stream: true }, options);
}

async function items(stream) {
  const found = [];
  for await (const item of await stream) found.push(item);
  return found;
}

const statusOf = async (session) =>
  (await (await fetch(`${GUARDED_URL}/api/chat/${session}`, { headers: USER })).json()).last;

const codeOf = (error) => error.code ?? error.error?.error?.code ?? error.error?.code;

describe("whole streams", () => {
  for (const model of MODELS) {
    test(model, async () => {
      const expected = await items(begin(model, BARE_URL));
      assert.ok(expected.length > 2);
      for (const ids of [false, true]) assert.deepEqual(await items(begin(model, GUARDED_URL, { ids })), expected);
    });
  }
  for (const model of ONE_EACH) {
    for (const how of ["slow", "pings"]) {
      test(`${model}, ${how}`, async () => {
        const expected = await items(begin(model, BARE_URL));
        const found = [false, true].map((ids) => items(begin(`${model}@${how}`, GUARDED_URL, { ids })));
        assert.deepEqual(await Promise.all(found), [expected, expected]);
      });
    }
  }
});

for (const model of ONE_EACH) {
  describe(model, () => {
    test("is resumed by its cursor", async () => {
      const expected = await items(begin(model, BARE_URL));
      const session = randomUUID();
      const headers = { ...USER, "content-type": "application/json", "x-session": session };
      const path = model.startsWith("anthropic") ? "messages" : model.includes("chat") ? "chat/completions" : "responses";
      const cut = new AbortController();
      const body = JSON.stringify({ model: `${model}@slow`, stream: true });
      const answer = await fetch(`${GUARDED_URL}/v1/${path}?ids=1`, { method: "POST", headers, body, signal: cut.signal });
      let text = "";
      for await (const chunk of answer.body) {
        text += new TextDecoder().decode(chunk);
        if (text.split("\n\n").length > 3) break;
      }
      cut.abort();
      const whole = text.slice(0, text.lastIndexOf("\n\n"));
      const ids = [...whole.matchAll(/^id: (.*)$/gm)].map((match) => match[1]);
      const resumed = await fetch(`${GUARDED_URL}/api/chat/${session}/stream`, {
        headers: { ...USER, "last-event-id": ids.at(-1) },
      });
      const Reader = model.startsWith("anthropic") ? AnthropicStream : Stream;
      const rest = await items(Reader.fromSSEResponse(resumed, new AbortController()));
      assert.ok(rest.length > 0 && rest.length < expected.length);
      assert.deepEqual(rest, expected.slice(expected.length - rest.length));
    });

    test("raises with our code when its upstream breaks off", async () => {
      const session = randomUUID();
      const seen = [];
      await assert.rejects(
        async () => {
          for await (const item of await begin(`${model}@reset`, GUARDED_URL, { session })) seen.push(item);
        },
        (error) => codeOf(error) === "provider_aborted",
      );
      assert.ok(seen.length >= 2);
      assert.equal((await statusOf(session)).outcome, "failed");
    });

    test("is an HTTP error when its upstream is not there", async () => {
      await assert.rejects(
        () => begin(`${model}@unreachable`, GUARDED_URL),
        (error) => error.status === 502 && codeOf(error) === "provider_aborted",
      );
      await assert.rejects(
        () => begin(`${model}@refused`, GUARDED_URL),
        (error) => error.status === 404 && codeOf(error) === "model_not_found",
      );
    });

    test("is not disturbed by a warning", async () => {
      const expected = await items(begin(model, BARE_URL));
      const headers = { "x-unsaved": "1" };
      for (const ids of [false, true]) {
        assert.deepEqual(await items(begin(model, GUARDED_URL, { ids, headers })), expected);
      }
    });
  });
}

// The how-to's component, rendered by React in a document, against the example application.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Window } from "happy-dom";
import { ANSWERS, APP, browserFetch, howTo, Network, newcomer, until } from "./harness.mjs";

const PROMPT = "Tell me of streams";
const window = new Window({ url: APP });
for (const name of ["window", "document", "navigator", "FormData", "HTMLElement", "Event"]) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
}
after(() => window.happyDOM.close());

// React looks for a document when it is loaded, so it comes after the globals.
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { Chat } = await howTo()("Chat.js");

/** A page showing one chat; `fetch` leads to `base` as the user. */
function openPage({ user, chatId, base = APP, initialMessages = [] }) {
  globalThis.fetch = browserFetch(base, user);
  const container = document.createElement("div");
  document.body.append(container);
  const root = createRoot(container);
  root.render(createElement(Chat, { id: chatId, initialMessages }));
  const find = (selector) => container.querySelector(selector);
  return {
    answer: () => Array.from(container.querySelectorAll("[data-role=assistant]"), (item) => item.textContent),
    alerts: () => Array.from(container.querySelectorAll("[role=alert]"), (item) => item.textContent.trim()),
    alert: () => find("[role=alert]"),
    button: (label) => Array.from(container.querySelectorAll("button")).find((item) => item.textContent.trim() === label),
    async ask(text) {
      const input = await until(() => find("input"), "the page is rendered");
      input.value = text;
      find("form").requestSubmit();
    },
    close() {
      root.unmount();
      container.remove();
    },
  };
}

const options = { timeout: 20_000 };
const question = { id: "m1", role: "user", parts: [{ type: "text", text: PROMPT }] };

test("it asks, and shows the answer", options, async () => {
  const page = openPage(newcomer());
  await page.ask(PROMPT);
  await until(() => page.answer()[0] === ANSWERS[PROMPT], "the whole answer is shown");
  await until(() => page.button("Send"), "it is ready again");
  assert.deepEqual(page.alerts(), []);
  page.close();
});

test("it resumes by itself after a cut, and the warning goes away", options, async () => {
  const network = await Network.open();
  const page = openPage({ ...newcomer(), base: network.url });
  network.cutAfter(15);
  await page.ask(PROMPT);
  await until(() => page.alerts()[0]?.startsWith("The connection was lost."), "the loss is shown");
  await until(() => page.answer()[0] === ANSWERS[PROMPT], "the whole answer is shown");
  await until(() => page.alerts().length === 0, "the loss is no longer shown");
  assert.equal(page.answer().length, 1);
  assert.equal(network.cuts, 1);
  page.close();
});

test("a page opened in mid-answer continues it", options, async () => {
  const who = newcomer();
  const first = openPage(who);
  await first.ask(PROMPT);
  await until(() => first.answer()[0]?.length > 20, "the answer begins");
  first.close();
  const second = openPage({ ...who, initialMessages: [question] });
  await until(() => second.answer()[0] === ANSWERS[PROMPT], "the whole answer is shown");
  second.close();
});

test("it shows what went wrong: in the answer, and before it", options, async () => {
  const page = openPage(newcomer());
  await page.ask("!crash");
  await until(() => page.alerts().length === 1, "the fault is shown");
  assert.equal(page.answer()[0], ANSWERS["!crash"]);
  const inStream = page.alert();
  await until(() => page.button("Send"), "it is ready again");
  await page.ask("!error-first");
  await until(() => page.alert() && page.alert() !== inStream, "the other fault is shown");
  assert.equal(page.alerts().length, 1);
  page.close();
});

test("Stop keeps what was written", options, async () => {
  const page = openPage(newcomer());
  await page.ask("!slow 50");
  await until(() => page.answer()[0]?.length > 10, "the answer begins");
  page.button("Stop").click();
  await until(() => page.button("Send"), "it has ended");
  const [text] = page.answer();
  assert.ok(ANSWERS["!slow 50"].startsWith(text) && text !== ANSWERS["!slow 50"]);
  assert.deepEqual(page.alerts(), []);
  page.close();
});

// The example page's own modules: what it makes of an answer's parts, of the messages that the server has saved, and of
// Markdown. How an answer is read is the client's (open_stream.test.mjs).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "happy-dom";
import { conversation } from "../../examples/shared/static/history.mjs";
import { blocksOf } from "../../examples/shared/static/markdown.mjs";
import { applyFailure, applyPart, Connection, emptyAnswer, numberOf } from "../../examples/shared/static/reading.mjs";
import { messageView } from "../../examples/shared/static/view.mjs";

// -- the parts ---------------------------------------------------------------------------------------------------------

function outcomeOf(...parts) {
  const answer = emptyAnswer();
  parts.forEach((part) => applyPart(answer, part));
  return answer.outcome;
}

test("every ending has its own outcome", () => {
  const fatal = (data) => ({ type: "data-streamguard-error", id: "sg_1", data: { severity: "fatal", message: "x", ...data } });
  assert.equal(outcomeOf({ type: "finish" }), "completed");
  assert.equal(outcomeOf({ type: "abort" }), "stopped");
  assert.equal(outcomeOf(fatal({ code: "provider_error", phase: "provider" })), "failed");
  assert.equal(outcomeOf(fatal({ code: "interrupted", phase: "stream" })), "interrupted");
  assert.equal(outcomeOf(fatal({ code: "shutting_down", phase: "shutdown" })), "interrupted");
  const warning = { type: "data-streamguard-error", id: "sg_2", data: { severity: "warning", code: "not_resumable" } };
  assert.equal(outcomeOf(warning), null);
  assert.equal(outcomeOf(warning, { type: "finish" }), "completed");
  const answer = emptyAnswer();
  applyFailure(answer, { code: "provider_error" });
  assert.equal(answer.outcome, "failed");
  assert.equal(outcomeOf({ type: "part-of-a-later-version" }), null);
});

test("what is said of saving an answer, and of the question", () => {
  const about = (data) => ({ type: "data-streamguard-error", id: "sg_3", data: { phase: "persistence", message: "x", ...data } });
  const save = (...parts) => {
    const answer = emptyAnswer();
    parts.forEach((part) => applyPart(answer, part));
    return [answer.save, answer.saveFault?.code ?? null, answer.outcome];
  };
  const failed = about({ code: "persistence_failed", severity: "error", message_id: "m" });
  const pending = about({ code: "persistence_pending", severity: "warning", message_id: "m" });
  const question = about({ code: "persistence_failed", severity: "error", user_message_id: "q", reason: "user_message" });
  const finish = { type: "finish" };
  assert.deepEqual(save(finish), [null, null, "completed"]);
  assert.deepEqual(save({ type: "data-streamguard-persisted", id: "sgp_s", data: {} }, finish), ["saved", null, "completed"]);
  assert.deepEqual(save(failed, finish), ["unsaved", "persistence_failed", "completed"]);
  assert.deepEqual(save(pending, finish), ["saving", "persistence_pending", "completed"]);
  assert.deepEqual(save(question, finish), [null, null, "completed"]);
});

// -- the connection ----------------------------------------------------------------------------------------------------

test("a cut breaks what is under way, and keeps others out for a while", async () => {
  const connection = new Connection();
  const asked = [];
  const before = globalThis.fetch;
  globalThis.fetch = (url, { signal }) => {
    asked.push(url);
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  try {
    const broken = assert.rejects(connection.fetch("/a", {}), { name: "NetworkError" });
    connection.cut(50);
    await broken;
    await assert.rejects(connection.fetch("/b", {}), TypeError);
    connection.cut(0);
    const closing = new AbortController();
    const left = assert.rejects(connection.fetch("/c", { signal: closing.signal }), { name: "AbortError" });
    closing.abort();
    await left;
    assert.deepEqual(asked, ["/a", "/c"]);
  } finally {
    globalThis.fetch = before;
  }
});

test("the number of an event, by its cursor", () => {
  assert.equal(numberOf("1.s.7.42"), 42);
  assert.equal(numberOf(null), 0);
  assert.equal(numberOf(undefined), 0);
});

// -- what the server has saved -----------------------------------------------------------------------------------------

function entry(id, role, text = id) {
  const ofStream = role === "assistant" ? { outcome: "completed", stream_id: `s-${id}` } : { outcome: null, stream_id: null };
  return { id, role, parts: [{ type: "step-start" }, { type: "text", text }], persisted: "yes", ...ofStream };
}

/** What is shown of entries, with the question kept in this browser, and the answer that began last. */
function shown(entries, asked = null, last = null) {
  const { messages, unread } = conversation(entries, asked, last && { message_id: last });
  return { unread, messages: messages.map(({ id, role, text, save }) => [id, role, text, save]) };
}

const asked = { id: "q2", text: "Well?", key: "k", body: {}, answerId: null };

test("a saved chat", () => {
  const { messages, unread } = shown([entry("q1", "user"), entry("a1", "assistant")], null, "a1");
  assert.deepEqual(messages, [["q1", "user", "q1", undefined], ["a1", "assistant", "a1", "saved"]]);
  assert.equal(unread, false);
});

test("a question without an answer, saved or kept in this browser alone, has one to be read", () => {
  const before = [entry("q1", "user"), entry("a1", "assistant")];
  for (const entries of [[...before, entry("q2", "user")], before]) {
    const { messages, unread } = shown(entries, asked, "a1");
    assert.deepEqual(messages.map(([id]) => id), ["q1", "a1", "q2"]);
    assert.equal(unread, true);
  }
});

test("an answer that is not saved is read from its log, wherever its question is", () => {
  const kept = shown([], asked, "a2");
  const elsewhere = shown([], null, "a2");
  assert.deepEqual([kept.messages.map(([id]) => id), kept.unread], [["q2"], true]);
  assert.deepEqual([elsewhere.messages, elsewhere.unread], [[], true]);
});

test("a saved answer whose question was refused stands after it", () => {
  const { messages, unread } = shown([entry("a2", "assistant")], { ...asked, answerId: "a2" }, "a2");
  assert.deepEqual(messages.map(([id]) => id), ["q2", "a2"]);
  assert.equal(unread, false);
});

// -- Markdown ----------------------------------------------------------------------------------------------------------

const { document } = new Window({ url: "http://127.0.0.1/" });
globalThis.document = document;

function rendered(text) {
  const place = document.createElement("div");
  place.append(...blocksOf(text).map(({ node }) => node()));
  return place.innerHTML;
}

const SAMPLES = [
  ["plain", "<p>plain</p>"],
  ["one\n\ntwo\nlines", "<p>one</p><p>two\nlines</p>"],
  ["# A\n## B\n#### C #", "<h3>A</h3><h3>B</h3><h4>C</h4>"],
  ["#no heading", "<p>#no heading</p>"],
  ["a **b** and *c* and _d_ and __e__", "<p>a <strong>b</strong> and <em>c</em> and <em>d</em> and <strong>e</strong></p>"],
  ["**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"],
  ["snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"],
  ["**open and *open", "<p>**open and *open</p>"],
  ["`a * b` and `` ` ``", "<p><code>a * b</code> and <code>`</code></p>"],
  ["\\*not\\*", "<p>*not*</p>"],
  ["- a\n- b\n  - c\n\nend", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><p>end</p>"],
  ["3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'],
  ["> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"],
  ["```python\n<b>*x*\n```\nafter", "<pre><code>&lt;b&gt;*x*</code></pre><p>after</p>"],
  ["```\nunfinished", "<pre><code>unfinished</code></pre>"],
  ["- a\u2028b\n\n> c\u2029d", "<ul><li>a\u2028b</li></ul><blockquote><p>c\u2029d</p></blockquote>"],
  ["---", "<hr>"],
  ["a\n| b | c |\n|---|--:|\n| `d\\|e` | **1** | 2 |\n| f |", `<p>a</p>${table([["b", "c"], ["<code>d|e</code>", "<strong>1</strong>"], ["f", ""]])}`],
  ["b | c\n--|-:\n\nd", `${table([["b", "c"]])}<p>d</p>`],
  ["a | b\n---|---|---", "<p>a | b\n---|---|---</p>"],
  ["a | b\n|x|", "<p>a | b\n|x|</p>"],
];

/** The HTML of a table whose second column is aligned at its end. */
function table([titles, ...rows]) {
  const row = (name, [first, second]) => `<tr><${name}>${first}</${name}><${name} data-align="end">${second}</${name}></tr>`;
  const body = `<tbody>${rows.map((cells) => row("td", cells)).join("")}</tbody>`;
  const attributes = 'class="table" tabindex="0" role="region" aria-label="Table"';
  return `<div ${attributes}><table><thead>${row("th", titles)}</thead>${body}</table></div>`;
}

for (const [text, html] of SAMPLES) {
  test(`Markdown: ${JSON.stringify(text)}`, () => assert.equal(rendered(text), html));
}

test("links lead only where links may lead", () => {
  const attributes = 'rel="noopener noreferrer nofollow" target="_blank"';
  const link = (href, label) => `<p><a href="${href}" ${attributes}>${label}</a></p>`;
  assert.equal(rendered("[a](https://example.org/x?y=1)"), link("https://example.org/x?y=1", "a"));
  assert.equal(rendered("[**a**](/metrics/)"), link("http://127.0.0.1/metrics/", "<strong>a</strong>"));
  assert.equal(rendered("[a](mailto:b@example.org)"), link("mailto:b@example.org", "a"));
  for (const address of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd"]) {
    assert.equal(rendered(`[a](${address})`).includes("<a"), false, address);
  }
});

test("nothing of a text is read as HTML", () => {
  const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script> [<b>](/"onmouseover="x) `</code><i>`';
  const place = document.createElement("div");
  place.append(...blocksOf(`${hostile}\n\n# ${hostile}\n\n- ${hostile}\n\n> ${hostile}`).map(({ node }) => node()));
  assert.equal(place.querySelectorAll("img, script, b, i").length, 0);
  assert.equal([...place.querySelectorAll("*")].some((node) => node.hasAttribute("onmouseover")), false);
});

test("a text that grows looks like one that was there at once", () => {
  const whole = SAMPLES.map(([text]) => text).join("\n\n");
  const view = messageView(document.createElement("ol"), "assistant");
  for (let length = 1; length <= whole.length; length += 1) {
    view.text(whole.slice(0, length));
    const shown = view.item.querySelector(".text").innerHTML.replaceAll(/ dir="(auto|ltr)"/g, "");
    assert.equal(shown, rendered(whole.slice(0, length)));
  }
});

test("blocks that are finished stay in the page while a text grows", () => {
  const view = messageView(document.createElement("ol"), "assistant");
  view.text("one\n\ntw");
  const [first, last] = view.item.querySelector(".text").children;
  view.text("one\n\ntwo");
  assert.equal(view.item.querySelector(".text").children[0], first);
  assert.notEqual(view.item.querySelector(".text").children[1], last);
});

test("a long text of marks is read in time", () => {
  for (const marks of ["*", "_", "`", "[", "**a ", "> ", "- ", "[a](", "`".repeat(3) + "\n", "|", "|-\n", "|\n-"]) {
    const started = performance.now();
    rendered(marks.repeat(20_000 / marks.length));
    assert.ok(performance.now() - started < 5000, marks);
  }
});

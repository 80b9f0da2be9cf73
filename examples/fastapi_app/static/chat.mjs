// The page: what is shown, what is kept over a reload, what the buttons do. Text reaches the page as text, never as HTML.

import { applyPart, ConnectionLost, emptyAnswer, follow, ServerFault } from "./stream.mjs";

const API = "/api/chat";
const LABELS = {
  completed: "",
  stopped: "Stopped by you",
  interrupted: "Interrupted",
  failed: "Failed",
  lost: "Connection lost",
};

const $ = (selector) => document.querySelector(selector);
const log = $("#log");
const banners = $("#banners");
const composer = $("#composer");
const input = $("#prompt");
const send = $("#send");
const stop = $("#stop");
const status = $("#status");

let chat = openChat(location.hash.slice(1) || localStorage.getItem("streamguard.current"));
let running = null; // the AbortController of the answer being read
let atEnd = true; // whether the reader is at the end of the page
const shownFaults = new Set(); // a replay tells of the same fault again

// -- what is kept ------------------------------------------------------------------------------------------------------

/** The chat `id` as it was kept, or a new one. Half answers are never kept: the server's log has them. */
function openChat(id) {
  const chatId = /^[A-Za-z0-9-]{1,64}$/.test(id ?? "") ? id : newId();
  localStorage.setItem("streamguard.current", chatId);
  history.replaceState(null, "", `#${chatId}`);
  try {
    const messages = JSON.parse(localStorage.getItem(`streamguard.chat.${chatId}`)) ?? [];
    return { id: chatId, messages: Array.isArray(messages) ? messages : [] };
  } catch {
    return { id: chatId, messages: [] };
  }
}

function keepChat() {
  localStorage.setItem(`streamguard.chat.${chat.id}`, JSON.stringify(chat.messages));
}

function newId() {
  // crypto.randomUUID is missing where the page is not served from https or localhost
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unanswered() {
  return chat.messages.at(-1)?.role === "user";
}

// -- what is shown -----------------------------------------------------------------------------------------------------

function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

function button(label, onClick) {
  const node = element("button", "quiet", label);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
}

/** One message's place on the page, with the means to change it while it grows. */
function show(role) {
  const item = element("li", "message");
  item.dataset.role = role;
  const text = element("div", "text");
  const note = element("p", "note");
  note.hidden = true;
  item.append(element("span", "visually-hidden", role === "user" ? "You" : "Answer"), text, note);
  log.append(item);
  $("#empty").hidden = true;
  return {
    item,
    text(value) {
      // Only what was added is written: a long answer stays cheap.
      const shown = text.firstChild?.data ?? "";
      if (shown !== "" && value.startsWith(shown)) text.firstChild.appendData(value.slice(shown.length));
      else text.textContent = value;
    },
    state(name, detail = "", ...actions) {
      item.dataset.state = name;
      const label = [LABELS[name] ?? "", detail].filter(Boolean).join(" – ");
      note.textContent = label;
      note.append(...actions);
      note.hidden = label === "";
    },
  };
}

function showAll() {
  log.replaceChildren();
  $("#empty").hidden = chat.messages.length > 0;
  for (const message of chat.messages) {
    const view = show(message.role);
    view.text(message.text);
    if (message.role === "assistant") showOutcome(view, message, message === chat.messages.at(-1));
  }
  atEnd = true;
  scrollToEnd();
}

function showOutcome(view, { outcome, fault }, isLast = true) {
  const broken = outcome === "failed" || outcome === "interrupted";
  const again = broken && isLast ? [button("Ask again", askAgain)] : [];
  view.state(outcome, outcome === "stopped" ? "" : fault?.message, ...again);
}

function showBanner(fault) {
  const key = fault.fault_id ?? `${fault.code}:${fault.message}`;
  if (fault.code === "stopped" || shownFaults.has(key)) return;
  shownFaults.add(key);
  const banner = element("div", "banner");
  banner.setAttribute("role", "alert");
  banner.dataset.code = fault.code;
  banner.dataset.severity = fault.severity ?? "error";
  const close = button("×", () => banner.remove());
  close.setAttribute("aria-label", "Dismiss");
  banner.append(element("strong", "", fault.message), element("code", "", fault.code), close);
  banners.append(banner);
  scrollToEnd();
}

/** Follows the conversation's end, unless the reader has scrolled up. */
function scrollToEnd() {
  if (atEnd) document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
}

function setRunning(controller) {
  running = controller;
  document.body.dataset.running = controller !== null;
  send.hidden = controller !== null;
  stop.hidden = controller === null;
  stop.disabled = false;
}

// -- one answer --------------------------------------------------------------------------------------------------------

const route = (tail) => `${API}/${encodeURIComponent(chat.id)}/${tail}`;

function post(trigger, signal) {
  const messages = chat.messages.map(({ id, role, text }) => ({ id, role, parts: [{ type: "text", text }] }));
  return fetch(API, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ id: chat.id, messages, trigger }),
    signal,
  });
}

/** Reads the answer to the last question; with `trigger` the question is sent first, without it the stream resumed. */
async function readAnswer(trigger = null) {
  const controller = new AbortController();
  const { signal } = controller;
  const asked = chat;
  const answer = emptyAnswer();
  const view = show("assistant");
  let frame = 0;
  const paint = () => {
    frame = 0;
    view.text(answer.text);
    scrollToEnd();
  };
  view.state("streaming");
  setRunning(controller);
  if (trigger) atEnd = true;
  scrollToEnd();
  try {
    let result = await follow({
      open: trigger && (() => post(trigger, signal)),
      resume: (cursor) => fetch(route("stream") + (cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""), { signal }),
      isKnown: (id) => asked.messages.some((message) => message.id === id),
      onPart(part) {
        const fault = applyPart(answer, part);
        if (fault) showBanner(fault);
        if (view.item.dataset.state !== "streaming") view.state("streaming");
        frame ||= requestAnimationFrame(paint); // many pieces may come between two frames
      },
      onReconnect(attempt, of) {
        view.state("reconnecting", `Reconnecting, attempt ${attempt} of ${of} …`);
      },
      signal,
    });
    if (result === "nothing" && answer.outcome === null) result = await recover(answer, signal);
    if (result === "nothing") {
      view.state("lost", "the question did not arrive", button("Ask again", askAgain));
      return;
    }
    answer.outcome ??= "completed";
    showOutcome(view, answer);
    asked.messages.push({ ...answer, id: answer.id ?? newId(), role: "assistant" });
    keepChat();
    status.textContent = `Answer ${answer.outcome}`;
  } catch (error) {
    if (signal.aborted) return; // another chat was opened; the answer goes on without this viewer
    if (error instanceof ServerFault) {
      showBanner(error.fault);
      if (error.fault.code === "conflict_active") {
        view.item.remove();
        return readAnswer(); // the answer is being written already, perhaps for another tab
      }
      view.state("failed", error.message, button("Ask again", askAgain));
    } else if (error instanceof ConnectionLost || error instanceof TypeError) {
      view.state("lost", "the answer may be going on without you", button("Reconnect", reconnect));
      showBanner({ code: "connection_lost", message: "The connection to the server is lost.", severity: "error" });
    } else {
      view.state("failed", "this page could not read the answer", button("Ask again", askAgain));
      throw error;
    }
  } finally {
    cancelAnimationFrame(frame);
    if (!signal.aborted) paint();
    if (running === controller) setRunning(null);
  }
}

/** A stream that ended while nobody was reading and is no longer replayed: its text is still in the log. */
async function recover(answer, signal) {
  const response = await fetch(`${API}/${encodeURIComponent(chat.id)}`, { signal });
  if (!response.ok) throw await ServerFault.of(response);
  const { last } = await response.json();
  if (!last || chat.messages.some((message) => message.id === last.message_id)) return "nothing";
  if (!last.outcome) throw new ConnectionLost(0); // it is being written after all
  const raw = await fetch(route(`streams/${encodeURIComponent(last.stream_id)}/raw`), { signal });
  if (!raw.ok && last.outcome === "completed") throw await ServerFault.of(raw);
  Object.assign(answer, { id: last.message_id, text: raw.ok ? await raw.text() : "", outcome: last.outcome });
  return "ended";
}

// -- what the buttons do -----------------------------------------------------------------------------------------------

function ask(text) {
  if (running || text.trim() === "") return;
  banners.replaceChildren();
  for (const old of log.querySelectorAll(".note button")) old.remove(); // only the last question can be asked again
  chat.messages.push({ id: newId(), role: "user", text });
  keepChat();
  show("user").text(text);
  readAnswer("submit-message");
}

/** Forgets answers to the last question and asks it again. */
function askAgain() {
  if (running) return;
  while (chat.messages.length && !unanswered()) chat.messages.pop();
  keepChat();
  banners.replaceChildren();
  showAll();
  if (unanswered()) readAnswer("regenerate-message");
}

function reconnect() {
  if (running || !unanswered()) return;
  banners.replaceChildren();
  shownFaults.clear();
  showAll();
  readAnswer();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(input.value);
  if (running) input.value = "";
});

input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

for (const chip of document.querySelectorAll("#failures button")) {
  chip.addEventListener("click", () => ask(chip.dataset.prompt));
}

stop.addEventListener("click", async () => {
  stop.disabled = true;
  try {
    const response = await fetch(route("stop"), { method: "POST" });
    if (!response.ok) showBanner((await ServerFault.of(response)).fault);
  } catch {
    showBanner({ code: "stop_failed", message: "Stop did not reach the server.", severity: "error" });
  }
  stop.disabled = false;
});

$("#new").addEventListener("click", () => {
  running?.abort();
  setRunning(null);
  localStorage.removeItem(`streamguard.chat.${chat.id}`);
  banners.replaceChildren();
  chat = openChat(newId());
  showAll();
  input.focus();
});

// Another tab with this chat asked something: read along.
addEventListener("storage", (event) => {
  if (event.key !== `streamguard.chat.${chat.id}` || event.newValue === null || running) return;
  chat = openChat(chat.id);
  showAll();
  if (unanswered()) readAnswer();
});

addEventListener("online", reconnect);
addEventListener("hashchange", () => location.reload()); // another chat's address was entered
addEventListener(
  "scroll",
  () => {
    const page = document.scrollingElement;
    atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  },
  { passive: true },
);

showAll();
setRunning(null);
if (unanswered()) readAnswer();

// The page: what is shown, and what the buttons do. Text reaches the page as text, never as HTML.

import { allowanceLine, refusal } from "./allowance.mjs";
import { conversation, keepQuestion, keptQuestion, newId, questionOfEvent, savedMessages } from "./history.mjs";
import { applyPart, ConnectionLost, emptyAnswer, follow, pause, ServerFault } from "./stream.mjs";
import { button, element, messageView } from "./view.mjs";

const API = "/api/chat";
const LOST = { code: "connection_lost", message: "The connection to the server is lost.", severity: "error" };
const WATCH_MS = 500; // when to look whether an answer is saved after all; each time twice as long
const RETRY_MS = 1000; // when to ask again for messages that could not be read; likewise
const LONGEST_MS = 30_000;

const $ = (selector) => document.querySelector(selector);
const log = $("#log");
const banners = $("#banners");
const composer = $("#composer");
const input = $("#prompt");
const send = $("#send");
const stop = $("#stop");
const status = $("#status");
const showAllowance = allowanceLine($("#allowance"), () => fetch(`${API}/${encodeURIComponent(chat.id)}`));

let chat = openChat(location.hash.slice(1) || localStorage.getItem("streamguard.current"));
let loading = null; // the promise of what the server has saved of it
let retry = 0; // the timer of another attempt at that
let running = null; // the AbortController of the answer being read
let editing = null; // the id of the question that is being edited
let atEnd = true; // whether the reader is at the end of the page
const shownFaults = new Set(); // a replay tells of the same fault again

// -- which chat ---------------------------------------------------------------------------------------------------------

/** The chat `id`, or a new one. `asked` is its last question, with the request that asked it. */
function openChat(id) {
  const chatId = /^[A-Za-z0-9-]{1,64}$/.test(id ?? "") ? id : newId();
  localStorage.setItem("streamguard.current", chatId);
  history.replaceState(null, "", `#${chatId}`);
  return { id: chatId, messages: [], asked: keptQuestion(chatId) };
}

/**
 * Shows the chat as the server has it, then reads the answer that is still in its log, if there is one. What cannot be
 * read now is asked for again after `wait` milliseconds.
 */
async function load(wait) {
  const opened = chat;
  let saved = [];
  try {
    saved = await savedMessages((query) => fetch(route(`messages${query}`)));
  } catch (error) {
    if (chat !== opened) return;
    showBanner(error.fault ?? LOST, button("Try again", () => reload()));
    if (error.temporary ?? true) retry = setTimeout(reload, wait, 2 * wait);
  }
  if (chat !== opened || running) return;
  const { messages, unread } = conversation(saved, chat.asked);
  chat.messages = messages;
  showAll();
  if (unread) readAnswer();
}

function reload(wait = RETRY_MS) {
  clearTimeout(retry);
  if (running) return;
  forgetBanners();
  loading = load(Math.min(wait, LONGEST_MS));
}

function unanswered() {
  return chat.messages.at(-1)?.role === "user";
}

// -- what is shown -----------------------------------------------------------------------------------------------------

function show(role) {
  $("#empty").hidden = true;
  return messageView(log, role);
}

function showAll() {
  log.replaceChildren();
  $("#empty").hidden = chat.messages.length > 0;
  for (const message of chat.messages) {
    const view = message.role === "user" ? showQuestion(message) : show(message.role);
    view.text(message.text);
    if (message.role === "assistant") showOutcome(view, message, message === chat.messages.at(-1));
  }
  atEnd = true;
  scrollToEnd();
}

function showQuestion(message) {
  const view = show("user");
  view.text(message.text);
  view.state("asked", [], button("Edit", () => edit(message)));
  return view;
}

function showOutcome(view, message, isLast = true) {
  const { outcome, fault, save, saveFault, streamId } = message;
  const broken = outcome === "failed" || outcome === "interrupted";
  const details = outcome === "stopped" ? [] : [fault?.message];
  const actions = broken && isLast ? [button("Ask again", askAgain, "question")] : [];
  if (save === "saving") details.push("Saving …");
  if (save === "saved" && saveFault) details.push("Saved");
  if (save === "unsaved") {
    details.push("Not saved", saveFault?.message);
    if (isLast && canResend() && saveFault?.actions?.includes("resend")) actions.push(button("Resend", resend, "question"));
    if (streamId) actions.push(button("Download", () => download(message)));
  }
  view.item.dataset.save = save ?? "";
  view.state(outcome, details, ...actions);
}

function showBanner(fault, ...actions) {
  const key = fault.fault_id ?? `${fault.code}:${fault.message}`;
  if (fault.code === "stopped" || shownFaults.has(key)) return;
  shownFaults.add(key);
  const banner = element("div", "banner");
  banner.setAttribute("role", "alert");
  banner.dataset.code = fault.code;
  banner.dataset.severity = fault.severity ?? "error";
  const close = button("×", () => banner.remove());
  close.setAttribute("aria-label", "Dismiss");
  banner.append(element("strong", "", fault.message), element("code", "", fault.code), ...actions, close);
  banners.append(banner);
  scrollToEnd();
}

function forgetBanners() {
  banners.replaceChildren();
  shownFaults.clear();
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
  if (controller === null) showAllowance();
}

// -- one answer --------------------------------------------------------------------------------------------------------

const route = (tail) => `${API}/${encodeURIComponent(chat.id)}/${tail}`;

/** Sends the last question; sent again with its key, it is answered once. */
const post = ({ key, body }, signal) =>
  fetch(API, { method: "POST", headers: { "content-type": "application/json", "idempotency-key": key }, body, signal });

/** Reads the answer to the last question; with `send` the question is sent first, without it the stream resumed. */
async function readAnswer({ send = false } = {}) {
  const controller = new AbortController();
  const { signal } = controller;
  const opened = chat;
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
  if (send) atEnd = true;
  scrollToEnd();
  try {
    let result = await follow({
      open: send && (() => post(opened.asked, signal)),
      resume: (cursor) => fetch(route("stream") + (cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""), { signal }),
      isKnown: (id) => opened.messages.some((message) => message.id === id),
      onStream: (id) => (answer.streamId = id),
      onPart(part) {
        const fault = applyPart(answer, part);
        if (fault && fault !== answer.saveFault) showBanner(fault); // what became of saving it stands below the answer
        if (view.item.dataset.state !== "streaming") view.state("streaming");
        frame ||= requestAnimationFrame(paint); // many pieces may come between two frames
      },
      onReconnect(attempt, of) {
        view.state("reconnecting", [`Reconnecting, attempt ${attempt} of ${of} …`]);
      },
      signal,
    });
    if (result === "nothing" && answer.outcome === null) result = await recover(answer, signal);
    if (result === "nothing") {
      const again = canResend() ? button("Resend", resend, "question") : button("Ask again", askAgain, "question");
      view.state("lost", ["the question did not arrive"], again);
      return;
    }
    answer.outcome ??= "completed";
    const message = { ...answer, id: answer.id ?? newId(), role: "assistant" };
    opened.messages.push(message);
    showOutcome(view, message);
    if (opened.asked) keepQuestion(opened.id, Object.assign(opened.asked, { answerId: message.id }));
    status.textContent = `Answer ${message.outcome}${message.save === "unsaved" ? ", not saved" : ""}`;
    watchSave(message, view);
  } catch (error) {
    if (signal.aborted) return; // another chat was opened; the answer goes on without this viewer
    if (error instanceof ServerFault) {
      if (error.fault.code === "conflict_active" || (send && error.fault.code === "resume_failed")) {
        view.item.remove();
        // It is being written already, perhaps for another tab; or it is saved, and its log is gone.
        setRunning(null);
        return reload();
      }
      showBanner(refusal(error.fault));
      view.state("failed", [error.message], button("Ask again", askAgain, "question"));
    } else if (error instanceof ConnectionLost || error instanceof TypeError) {
      view.state("lost", ["the answer may be going on without you"], button("Reconnect", reconnect, "question"));
      showBanner(LOST);
    } else {
      view.state("failed", ["this page could not read the answer"], button("Ask again", askAgain, "question"));
      throw error;
    }
  } finally {
    cancelAnimationFrame(frame);
    if (!signal.aborted) paint();
    if (running === controller) setRunning(null);
  }
}

/** Looks now and then whether an answer that is not saved is saved after all, as long as it is the last one. */
async function watchSave(message, view) {
  const isLast = () => chat.messages.at(-1) === message;
  for (let wait = WATCH_MS; (message.save === "saving" || message.save === "unsaved") && isLast(); wait *= 2) {
    await pause(Math.min(wait, LONGEST_MS));
    const response = isLast() ? await fetch(`${API}/${encodeURIComponent(chat.id)}`).catch(() => null) : null;
    if (!response?.ok || !isLast()) continue;
    const { last } = await response.json();
    if (last?.stream_id !== message.streamId || last.persisted === "not_asked") return;
    if (last.persisted === "pending") continue;
    message.save = last.persisted === "yes" ? "saved" : "unsaved";
    showOutcome(view, message);
    if (last.persisted === "no") return;
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
  const save = { yes: "saved", pending: "unsaved", no: "unsaved" }[last.persisted] ?? null;
  const text = raw.ok ? await raw.text() : "";
  Object.assign(answer, { id: last.message_id, text, outcome: last.outcome, streamId: last.stream_id, save });
  return "ended";
}

// -- what the buttons do -----------------------------------------------------------------------------------------------

/** Keeps the request that asks the last question, under a key of its own; `messageId` is its id if it was edited. */
function remember(trigger, messageId) {
  const { id, text } = chat.messages.at(-1);
  const messages = chat.messages.map(({ id, role, text }) => ({ id, role, parts: [{ type: "text", text }] }));
  chat.asked = { id, text, key: newId(), body: "", answerId: null };
  chat.asked.body = JSON.stringify({ id: chat.id, messages, trigger, messageId });
  keepQuestion(chat.id, chat.asked);
}

/** Puts a question where it can be changed; sent, it takes the place of the old one and of all that followed. */
function edit({ id, text }) {
  editing = id;
  input.value = text;
  input.focus();
}

/** Returns whether the question was asked. */
function ask(text) {
  if (running || text.trim() === "") return false;
  banners.replaceChildren();
  for (const old of log.querySelectorAll("[data-about=question]")) old.remove(); // only the last one can be asked again
  const at = chat.messages.findIndex(({ id }) => id === editing);
  if (at >= 0) chat.messages.splice(at);
  chat.messages.push({ id: at < 0 ? newId() : editing, role: "user", text });
  remember("submit-message", at < 0 ? undefined : editing);
  editing = null;
  at < 0 ? showQuestion(chat.messages.at(-1)) : showAll();
  readAnswer({ send: true });
  return true;
}

/** Leaves answers to the last question out of the conversation. Returns whether there is such a question. */
function forgetAnswers() {
  if (running) return false;
  while (chat.messages.length && !unanswered()) chat.messages.pop();
  banners.replaceChildren();
  showAll();
  return unanswered();
}

/** Asks the last question for another answer. */
function askAgain() {
  if (!forgetAnswers()) return;
  remember("regenerate-message");
  readAnswer({ send: true });
}

/** Whether the very request that asked the last question is at hand. */
function canResend() {
  return chat.asked !== null && chat.messages.findLast((message) => message.role === "user")?.id === chat.asked.id;
}

/** Sends the last question once more, with its key: what there is of its answer comes back, and is not written twice. */
function resend() {
  if (!canResend() || !forgetAnswers()) return;
  shownFaults.clear();
  readAnswer({ send: true });
}

function reconnect() {
  if (running || !unanswered()) return;
  forgetBanners();
  showAll();
  readAnswer();
}

/** Saves an answer as a file: what the server has in its log, or else what is shown. */
async function download({ streamId, text }) {
  const raw = await fetch(route(`streams/${encodeURIComponent(streamId)}/raw`)).catch(() => null);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([raw?.ok ? await raw.text() : text], { type: "text/plain" }));
  link.download = `${streamId}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  await loading;
  if (ask(input.value)) input.value = "";
});

input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

for (const chip of document.querySelectorAll("#failures button")) {
  chip.addEventListener("click", async () => {
    await loading;
    ask(chip.dataset.prompt);
  });
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
  clearTimeout(retry);
  running?.abort();
  setRunning(null);
  banners.replaceChildren();
  chat = openChat(newId());
  showAll();
  input.focus();
});

// Another tab with this chat asked something: read along.
addEventListener("storage", (event) => {
  const asked = questionOfEvent(event, chat.id);
  if (!asked) return;
  const isNew = asked.key !== chat.asked?.key;
  chat.asked = asked;
  if (isNew) reload();
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

setRunning(null);
loading = load(RETRY_MS);

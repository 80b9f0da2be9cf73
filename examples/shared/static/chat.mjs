// The page: what is shown of a chat, and what the buttons do. Text reaches the page as text, never as HTML.

import { allowanceLine, refusal } from "./allowance.mjs";
import { ChatList, lastOpened } from "./chats.mjs";
import { asides, facts, killWorker, takeDatabase, whereDatabaseIs } from "./controls.mjs";
import { conversation, forgetQuestion, keepQuestion, keptQuestion, newId, questionOfEvent } from "./history.mjs";
import { Panel } from "./panel.mjs";
import { applyFailure, applyPart, Connection, emptyAnswer, LOST, numberOf, pause } from "./reading.mjs";
import {
  AnswerFailedError,
  ConnectionLostError,
  openStream,
  ResumeFailedError,
  savedMessages,
  sessionStatus,
  stopAnswer,
  StreamguardError,
} from "./streamguard-client.mjs";
import { button, element, messageView } from "./view.mjs";

const API = "/api/chat";
const RECONNECT = { maxAttempts: 6, maxDelayMs: 6000 };
const CUT_MS = 2500; // how long "Cut the connection" lasts
const WATCH_MS = 500; // when to look whether an answer is saved after all; each time twice as long
const RETRY_MS = 1000; // when to ask again for messages that could not be read; likewise
const LONGEST_MS = 30_000;
const LEFT_MS = 1500; // how often to look at an answer that goes on in a chat that was left
const RELOADED = "streamguard.reloaded"; // in sessionStorage: after which event the button reloaded the page

const $ = (selector) => document.querySelector(selector);
const scroller = $("#scroll");
const log = $("#log");
const banners = $("#banners");
const composer = $("#composer");
const input = $("#prompt");
const send = $("#send");
const stop = $("#stop");
const status = $("#status");
const connection = new Connection();
const list = new ChatList($("#chat-list"), { open: openAnother, remove: removeChat });
const panel = new Panel($("#inside"), ({ database }) => showDatabase(database));
const showAllowance = allowanceLine($("#allowance"), () => statusOf(chat));

let chat = null;
let loading = null; // the promise of what the server has saved of it
let retry = 0; // the timer of another attempt at that
let reading = null; // the answer being read: `{controller, stream, number, isOn}`
let editing = null; // the id of the question that is being edited
let atEnd = true; // whether the reader is at the end of the talk
const shownFaults = new Set(); // ids: a replay tells of the same fault again

// -- which chat --------------------------------------------------------------------------------------------------------

/** Shows the chat `id`, or a new one. `asked` is its last question, with the request that asked it. */
function openChat(id) {
  const chatId = /^[A-Za-z0-9-]{1,64}$/.test(id ?? "") ? id : newId();
  chat = { id: chatId, messages: [], asked: keptQuestion(chatId) };
  history.replaceState(null, "", `#${chatId}`);
  list.select(chatId);
  list.mark(chatId, false);
  panel.watch(chatId);
  setReading(null);
  showAll();
  loading = load(RETRY_MS);
}

/** Leaves the chat on show, whose answer goes on without this page, and shows another. */
function openAnother(id) {
  leave();
  openChat(id);
  closeAsides();
  focusTalk();
}

function leave() {
  clearTimeout(retry);
  forgetBanners();
  say("");
  editing = null;
  if (!reading) return;
  list.mark(chat.id, true);
  watchLeft(chat.id);
  reading.controller.abort();
}

/** Looks now and then whether the answer of a chat that was left is written to its end. */
async function watchLeft(id) {
  for (;;) {
    await pause(LEFT_MS);
    if (chat.id === id) return;
    const found = await statusOf({ id }).catch(() => null);
    if (found && !found.active) return list.mark(id, false);
  }
}

/** Ends a chat's answer and erases all that the server has of it. */
async function removeChat(id) {
  const response = await fetch(`${API}/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => null);
  if (!response?.ok) {
    list.select(chat.id); // its buttons ask no longer
    closeAsides();
    focusTalk();
    return say("The chat could not be deleted. Try again when its database is there.");
  }
  list.delete(id);
  forgetQuestion(id);
  if (id === chat.id) openAnother(newId());
  else ($("#chat-list button") ?? $("#new")).focus();
  say("The chat is deleted: its messages and its log are erased on the server.");
}

/**
 * Shows the chat as the server has it, then reads the answer that is still in its log, if there is one. What cannot be
 * read now is asked for again after `wait` milliseconds.
 */
async function load(wait) {
  const opened = chat;
  let saved = [];
  let last = null;
  try {
    const found = statusOf(opened).catch(() => null);
    saved = await savedMessages({ sessionId: opened.id });
    last = (await found)?.last ?? null;
  } catch (error) {
    if (chat !== opened) return;
    showBanner(faultOf(error), button("Try again", () => reload()));
    if (error.retryable ?? true) retry = setTimeout(reload, wait, 2 * wait);
    if (chat.messages.length > 0) return; // what is shown stays
  }
  if (chat !== opened || reading) return;
  const { messages, unread } = conversation(saved, chat.asked, last);
  chat.messages = messages;
  const first = messages.find(({ role }) => role === "user");
  if (first) list.add(chat.id, first.text);
  showAll();
  if (unread) readAnswer();
  else if (reloadedAfter() !== null) say("You reloaded the page. The answer had ended, and came from the database.");
}

function reload(wait = RETRY_MS) {
  clearTimeout(retry);
  if (reading) {
    retry = setTimeout(reload, wait, wait); // what is being read comes first
    return;
  }
  forgetBanners();
  loading = load(Math.min(wait, LONGEST_MS));
}

const statusOf = ({ id }) => sessionStatus({ sessionId: id });

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
  if (chat.messages.length > 0 && !unanswered()) panel.shows(Number.POSITIVE_INFINITY);
  atEnd = true;
  scrollToEnd();
  setControls();
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
  const isOnShow = [...banners.children].some((banner) => banner.dataset.key === key);
  if (fault.code === "stopped" || isOnShow || shownFaults.has(fault.fault_id)) return;
  if (fault.fault_id) shownFaults.add(fault.fault_id);
  const banner = element("div", "banner");
  banner.dataset.key = key;
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

/** What an error of the client is to the page's reader. */
function faultOf(error) {
  if (error.fault) return error.fault;
  if (!(error instanceof StreamguardError) || error.code === LOST.code) return LOST;
  return { code: error.code, message: error.message, severity: "error" };
}

/** Says in a sentence what the buttons did, or what came of it. */
function say(sentence) {
  $("#said").textContent = sentence;
  if (sentence) panel.tell(sentence);
  scrollToEnd();
}

/** Gives the focus of a button that is disabled, or gone, to the prompt; on a phone a keyboard would cover the talk then. */
function focusTalk() {
  (matchMedia("(pointer: coarse)").matches ? scroller : input).focus();
}

/** Follows the talk's end, unless the reader has scrolled up. */
function scrollToEnd() {
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function setReading(started) {
  reading = started;
  document.body.dataset.running = started !== null;
  // Stop is about to go: whoever pressed it goes on writing.
  if (started === null && document.activeElement === stop) focusTalk();
  send.hidden = started !== null;
  stop.hidden = started === null;
  stop.disabled = started === null;
  setControls();
  if (started === null) showAllowance();
  else panel.look();
}

function setControls() {
  $("#cut").disabled = !reading?.isOn;
  $("#kill").disabled = !reading?.isOn;
  $("#quota").disabled = reading !== null;
  $("#resend").disabled = reading !== null || !canResend();
}

// -- one answer --------------------------------------------------------------------------------------------------------

const route = (tail) => `${API}/${encodeURIComponent(chat.id)}/${tail}`;

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
    if (mine.number > 0) panel.shows(mine.number);
    scrollToEnd();
  };
  const stream = openStream({
    sessionId: opened.id,
    question: send ? { body: opened.asked.body, idempotencyKey: opened.asked.key } : undefined,
    fetch: connection.fetch,
    reconnect: RECONNECT,
    signal,
    onReconnect({ attempt, maxAttempts }) {
      setOn(false);
      view.state("reconnecting", [`Reconnecting, attempt ${attempt} of ${maxAttempts} …`]);
    },
    onReconnected() {
      setOn(true);
      view.state("streaming");
      tellOfResume(mine.number, "Back: the page asked for everything after");
    },
  });
  const mine = { controller, stream, number: 0, isOn: false };
  const setOn = (isOn) => {
    mine.isOn = isOn;
    setControls();
  };
  view.state("streaming");
  panel.shows(0);
  setReading(mine);
  if (send) atEnd = true;
  scrollToEnd();
  try {
    let found = await stream.open();
    if (found && !send && opened.messages.some((message) => message.id === stream.messageId)) {
      stream.close(); // an earlier answer, replayed: this question never reached the server
      found = false;
    }
    if (found) {
      if (send) keepQuestion(opened.id, Object.assign(opened.asked, { begun: true })); // other tabs read along
      setOn(true);
      panel.look();
      if (!send) tellOfResume(0, "The page read the answer again from");
      await readParts();
    }
    if (!found || stream.outcome === "nothing") found = answer.outcome !== null || (await recover(answer, signal));
    if (!found) {
      const again = canResend() ? button("Resend", resend, "question") : button("Ask again", askAgain, "question");
      view.state("lost", ["the question did not arrive"], again);
      return;
    }
    answer.outcome ??= stream.outcome === "stopped" ? "stopped" : "completed";
    const message = { ...answer, id: answer.id ?? newId(), role: "assistant" };
    opened.messages.push(message);
    showOutcome(view, message);
    if (opened.asked) keepQuestion(opened.id, Object.assign(opened.asked, { answerId: message.id }));
    status.textContent = `Answer ${message.outcome}${message.save === "unsaved" ? ", not saved" : ""}`;
    mine.number = Number.POSITIVE_INFINITY;
    if (message.outcome === "interrupted") {
      say("The answer was interrupted. What had been written is kept, and “Ask again” writes a whole one.");
    }
    watchSave(message, view);
  } catch (error) {
    if (signal.aborted) return; // another chat was opened; the answer goes on without this viewer
    if (error.code === LOST.code || error instanceof TypeError) {
      view.state("lost", ["the answer may be going on without you"], button("Reconnect", reconnect, "question"));
      showBanner(LOST);
    } else if (error.code === "conflict_active" || (send && error instanceof ResumeFailedError)) {
      view.item.remove();
      // It is being written already, perhaps for another tab; or it is saved, and its log is gone.
      setReading(null);
      return reload();
    } else if (error instanceof StreamguardError) {
      showBanner(refusal(faultOf(error), error.retryAfterSeconds));
      view.state("failed", [error.message], button("Ask again", askAgain, "question"));
    } else {
      view.state("failed", ["this page could not read the answer"], button("Ask again", askAgain, "question"));
      throw error;
    }
  } finally {
    cancelAnimationFrame(frame);
    if (!signal.aborted) paint();
    if (reading === mine) setReading(null);
    panel.look();
  }

  async function readParts() {
    answer.streamId = stream.streamId;
    try {
      for await (const { id, part } of stream) {
        const fault = applyPart(answer, part);
        if (fault && fault !== answer.saveFault) showBanner(fault); // what became of saving it stands below the answer
        if (id !== null) mine.number = numberOf(id);
        frame ||= requestAnimationFrame(paint); // many pieces may come between two frames
      }
    } catch (error) {
      if (!(error instanceof AnswerFailedError)) throw error;
      if (answer.outcome === null) applyFailure(answer, error.fault ?? { code: error.code, message: error.message });
    }
  }
}

/** Says what came out of the log when the page came back, having shown the answer up to event `from`. */
async function tellOfResume(from, how) {
  const opened = chat;
  const found = await statusOf(opened).catch(() => null);
  if (found === null || chat !== opened) return;
  const { stream_id: streamId, cursor } = found.active ?? found.last ?? {};
  const written = numberOf(cursor);
  panel.readAgain(streamId, from + 1, written);
  const events = written > from ? `events ${from + 1} to ${written} came out of the log` : "nothing had been missed";
  const reloaded = from === 0 ? reloadedAfter() : null;
  if (reloaded !== null) {
    say(`You reloaded the page after event ${reloaded}. The server wrote on; ${events}, and the rest comes live.`);
  } else {
    say(`${how} ${from > 0 ? `event ${from}` : "its beginning"}; ${events}, none twice.`);
  }
}

/** The event after which the button reloaded this chat's page; null if it did not, or that was told of. */
function reloadedAfter() {
  const reloaded = JSON.parse(sessionStorage.getItem(RELOADED));
  sessionStorage.removeItem(RELOADED);
  return reloaded?.chat === chat.id ? reloaded.number : null;
}

/** Looks now and then whether an answer that is not saved is saved after all. */
async function watchSave(message, view) {
  const opened = chat;
  const isShown = () => chat === opened && chat.messages.includes(message);
  for (let wait = WATCH_MS; (message.save === "saving" || message.save === "unsaved") && isShown(); wait *= 2) {
    await pause(Math.min(wait, LONGEST_MS));
    const persisted = isShown() ? await persistedOf(message).catch(() => "pending") : "pending";
    if (persisted === "not_asked") return;
    if (persisted === "pending" || !isShown()) continue;
    message.save = persisted === "yes" ? "saved" : "unsaved";
    showOutcome(view, message, message === chat.messages.at(-1));
    if (persisted === "no") return;
  }
}

/** Whether an answer is saved: by the chat's status while it is the last one, then by what is saved. */
async function persistedOf({ id, streamId }) {
  const { last } = await statusOf(chat);
  if (last?.stream_id === streamId) return last.persisted;
  const saved = await savedMessages({ sessionId: chat.id });
  return saved.some((message) => message.id === id) ? "yes" : "pending";
}

/** A stream that ended while nobody was reading and is no longer replayed: its text is still in the log. */
async function recover(answer, signal) {
  const { last } = await sessionStatus({ sessionId: chat.id, signal });
  if (!last || chat.messages.some((message) => message.id === last.message_id)) return false;
  if (!last.outcome) throw new ConnectionLostError(0, {}); // it is being written after all
  const raw = await fetch(route(`streams/${encodeURIComponent(last.stream_id)}/raw`), { signal });
  if (!raw.ok && last.outcome === "completed") throw new ConnectionLostError(0, {});
  const save = { yes: "saved", pending: "unsaved", no: "unsaved" }[last.persisted] ?? null;
  const text = raw.ok ? await raw.text() : "";
  Object.assign(answer, { id: last.message_id, text, outcome: last.outcome, streamId: last.stream_id, save });
  return true;
}

// -- asking ------------------------------------------------------------------------------------------------------------

/** Keeps the request that asks the last question, under a key of its own; `messageId` is its id if it was edited. */
function remember(trigger, { messageId, overQuota } = {}) {
  const { id, text } = chat.messages.at(-1);
  const messages = chat.messages.map(({ id, role, text }) => ({ id, role, parts: [{ type: "text", text }] }));
  chat.asked = { id, text, key: newId(), body: { id: chat.id, messages, trigger, messageId, overQuota }, answerId: null, begun: false };
  keepQuestion(chat.id, chat.asked);
}

/** Puts a question where it can be changed; sent, it takes the place of the old one and of all that followed. */
function edit({ id, text }) {
  editing = id;
  input.value = text;
  input.focus();
}

/** Returns whether the question was asked. */
function ask(text, { overQuota } = {}) {
  if (reading || text.trim() === "") return false;
  banners.replaceChildren();
  say("");
  for (const old of log.querySelectorAll("[data-about=question]")) old.remove(); // only the last one can be asked again
  const at = chat.messages.findIndex(({ id }) => id === editing);
  if (at >= 0) chat.messages.splice(at);
  chat.messages.push({ id: at < 0 ? newId() : editing, role: "user", text });
  remember("submit-message", { messageId: at < 0 ? undefined : editing, overQuota });
  list.add(chat.id, text);
  editing = null;
  at < 0 ? showQuestion(chat.messages.at(-1)) : showAll();
  readAnswer({ send: true });
  return true;
}

/** Leaves answers to the last question out of the conversation. Returns whether there is such a question. */
function forgetAnswers() {
  if (reading) return false;
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
  say("You sent the same question again, under the same key. The server knew the key: one question, one answer.");
  readAnswer({ send: true });
}

function reconnect() {
  if (reading || !unanswered()) return;
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

// -- what the buttons do -----------------------------------------------------------------------------------------------

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

for (const starter of document.querySelectorAll("#starters button")) {
  starter.addEventListener("click", async () => {
    await loading;
    ask(starter.textContent);
    focusTalk();
  });
}

stop.addEventListener("click", async () => {
  stop.disabled = true;
  focusTalk();
  try {
    const stopped = await stopAnswer({ sessionId: chat.id, streamId: reading.stream.streamId ?? undefined });
    if (stopped === "stopping") return say("You stopped the answer. What was written until then is kept.");
    stop.disabled = reading === null;
    say("There was nothing to stop: the answer had ended, or had not begun.");
  } catch (error) {
    if (error.fault) showBanner(error.fault);
    else showBanner({ code: "stop_failed", message: "Stop did not reach the server.", severity: "error" });
    stop.disabled = reading === null;
  }
});

$("#cut").addEventListener("click", () => {
  say(`You cut the connection after event ${reading.number}. The server writes on, and the page comes back by itself.`);
  connection.cut(CUT_MS);
  focusTalk();
});

$("#kill").addEventListener("click", async () => {
  const { number } = reading;
  $("#kill").disabled = true;
  focusTalk();
  try {
    const worker = await killWorker(chat.id);
    say(`You killed worker ${worker}, which wrote this answer, after event ${number}. Another finds what it left behind.`);
  } catch {
    setControls();
    say("No worker was killed: none was found that writes this answer.");
  }
});

$("#database").addEventListener("click", async () => {
  const isAway = $("#database").dataset.state !== "away";
  try {
    showDatabase(await takeDatabase(isAway));
    say(
      isAway
        ? "Your database is away: it refuses every call. Ask something: the answer streams as ever, and its save is owed."
        : "Your database is back. What is owed is saved within seconds.",
    );
  } catch {
    say("The database could not be reached at all.");
  }
  panel.look();
});

function showDatabase(state) {
  $("#database").dataset.state = state;
  $("#database").textContent = state === "away" ? "Database back" : "Database away";
}

$("#quota").addEventListener("click", async () => {
  await loading;
  if (!ask(input.value.trim() || "Write down every book there is.", { overQuota: true })) return;
  input.value = "";
  focusTalk();
  say("Your question asks for more tokens than a day has: refused before the model was asked, and nothing was used.");
});

$("#reload").addEventListener("click", () => {
  sessionStorage.setItem(RELOADED, JSON.stringify({ chat: chat.id, number: reading?.number ?? 0 }));
  location.reload();
});

$("#resend").addEventListener("click", () => {
  resend();
  focusTalk();
});

$("#new").addEventListener("click", () => openAnother(newId()));

// Another tab with this chat asked something: read along, once there is an answer to read.
addEventListener("storage", (event) => {
  const asked = questionOfEvent(event, chat.id);
  if (!asked) return;
  const isNew = asked.key !== chat.asked?.key || !chat.asked.begun;
  chat.asked = asked;
  if (isNew && asked.begun) reload();
});

addEventListener("online", reconnect);
addEventListener("hashchange", () => {
  const id = location.hash.slice(1);
  if (id !== chat.id) openAnother(id); // another chat's address was entered
});
scroller.addEventListener(
  "scroll",
  () => {
    atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  },
  { passive: true },
);

const closeAsides = asides(
  [
    { button: $("#show-chats"), place: $("#chats") },
    { button: $("#show-inside"), place: $("#inside") },
  ],
  () => chat && panel.look(),
);
openChat(location.hash.slice(1) || lastOpened());
facts().then(({ can }) => {
  $("#cut").hidden = !can.includes("cut");
  $("#kill").hidden = !can.includes("kill");
  $("#database").hidden = !can.includes("database");
  $("#quota").hidden = !can.includes("quota");
});
whereDatabaseIs().then(showDatabase);

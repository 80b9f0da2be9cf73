// A chat's messages: what the server has saved, and the one question that this browser may have to send again.

import { ServerFault } from "./stream.mjs";

export function newId() {
  // crypto.randomUUID is missing where the page is not served from https or localhost
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Everything saved of a chat, in order. `get(query)` asks the chat's messages route; both give a fetch Response. */
export async function savedMessages(get) {
  const messages = [];
  for (let after = 0; after !== null; ) {
    const response = await get(`?after=${after}`);
    if (!response.ok) throw await ServerFault.of(response);
    const page = await response.json();
    messages.push(...page.messages.map(fromServer));
    after = page.next;
  }
  return messages;
}

function fromServer({ id, role, parts, outcome, persisted, stream_id: streamId, position }) {
  const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  if (role !== "assistant") return { id, role, text };
  const save = persisted === "yes" ? "saved" : "unsaved";
  return { id, role, text, outcome, fault: null, streamId, save, saveFault: null, isStored: position !== null };
}

/**
 * What to show of a chat whose `saved` messages were read, when `asked` is the last question this browser sent.
 *
 * A reply that is not saved is left out, since its log has it: `unread` says that there is one to be read from there.
 */
export function conversation(saved, asked) {
  const messages = saved.filter((message) => message.role !== "assistant" || message.isStored);
  if (asked && !messages.some((message) => message.id === asked.id)) {
    // Its own save failed: it belongs before its answer, or, while there is none, at the end.
    const answer = messages.findIndex((message) => message.id === asked.answerId);
    messages.splice(answer < 0 ? messages.length : answer, 0, { id: asked.id, role: "user", text: asked.text });
  }
  return { messages, unread: messages.length < saved.length || messages.at(-1)?.role === "user" };
}

const keyOf = (chatId) => `streamguard.asked.${chatId}`;

/** The question that another tab has kept of this chat, as an event of `localStorage` tells; null if it tells of
 * something else. */
export function questionOfEvent({ key, newValue }, chatId) {
  return key === keyOf(chatId) && newValue !== null ? JSON.parse(newValue) : null;
}

/** The last question asked in a chat, `{id, text, key, body, answerId}`, as it was kept; null without one. */
export function keptQuestion(chatId) {
  try {
    return JSON.parse(localStorage.getItem(keyOf(chatId)));
  } catch {
    return null;
  }
}

/** Keeps a question with all that is needed to send the very same request again, after a reload too. */
export function keepQuestion(chatId, asked) {
  try {
    localStorage.setItem(keyOf(chatId), JSON.stringify(asked));
  } catch {
    localStorage.removeItem(keyOf(chatId)); // too long a chat: better none than one that was asked before
  }
}

// A chat's messages: what the server has saved, and the one question that this browser may have to send again.

export function newId() {
  // crypto.randomUUID is missing where the page is not served from https or localhost
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromServer({ id, role, parts, outcome, persisted, stream_id: streamId }) {
  const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  if (role !== "assistant") return { id, role, text };
  const save = persisted === "yes" ? "saved" : "unsaved";
  return { id, role, text, outcome, fault: null, streamId, save, saveFault: null };
}

/**
 * What to show of a chat whose `saved` messages were read, when `asked` is the last question this browser sent, and
 * `last` the answer that the server began last.
 *
 * `unread` says that there is an answer in the log that is not among the messages: it runs, or it is not saved.
 */
export function conversation(saved, asked, last) {
  const messages = saved.map(fromServer);
  if (asked && !messages.some((message) => message.id === asked.id)) {
    // Its own save failed: it belongs before its answer, or, while there is none, at the end.
    const answer = messages.findIndex((message) => message.id === asked.answerId);
    messages.splice(answer < 0 ? messages.length : answer, 0, { id: asked.id, role: "user", text: asked.text });
  }
  const isUnsaved = Boolean(last?.message_id) && !messages.some((message) => message.id === last.message_id);
  return { messages, unread: isUnsaved || messages.at(-1)?.role === "user" };
}

const keyOf = (chatId) => `streamguard.asked.${chatId}`;

/** The question that another tab has kept of this chat, as an event of `localStorage` tells; null if it tells of
 * something else. */
export function questionOfEvent({ key, newValue }, chatId) {
  return key === keyOf(chatId) && newValue !== null ? JSON.parse(newValue) : null;
}

/** The last question asked in a chat, `{id, text, key, body, answerId, begun}`, as it was kept; null without one. */
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

/** Keeps nothing of a chat that was deleted. */
export function forgetQuestion(chatId) {
  localStorage.removeItem(keyOf(chatId));
}
